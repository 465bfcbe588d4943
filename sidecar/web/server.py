"""An HTTP/1.1 listener with limits: on header sizes, on slow clients, on connections held at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from sidecar.core.errors import SettingsError
from sidecar.core.events import Observer, RpcFault
from sidecar.web.answers import refusal

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]

REQUEST_SECONDS: Final = 10.0
"""For the first request after connecting, and for the whole head of a request once it has begun."""
KEEP_ALIVE_SECONDS: Final = 630.0
"""For an idle connection. Longer than clients and load balancers keep theirs (600 s at most): whoever closes
first can cut off a request on its way, and a JWKS fetch that fails costs a verifier minutes."""
MAX_LINE_BYTES: Final = 8190
"""For the request line and for each header field."""
MAX_HEADERS: Final = 64
MAX_CONNECTIONS: Final = 512
"""Past it the connection whose last request is longest ago is closed: a crowd of idle clients keeps no new
one out, and cuts off none that is in use."""
_LINGER_SECONDS: Final = 2.0
"""For reading what is left of a body that nobody asked for, so that the client can read the refusal."""


class HttpListener:
    """One HTTP address. `setting` is the name of the setting that holds it."""

    def __init__(
        self,
        setting: str,
        address: str,
        handler: Handler,
        observer: Observer,
        *,
        request_seconds: float = REQUEST_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._setting = setting
        self._handler = handler
        self._observer = observer
        self._request_seconds = request_seconds
        self._max_connections = max_connections
        self._server: _Server | None = None
        self._listening: asyncio.Server | None = None
        self.address = address
        """host:port where it listens, with the port that port 0 became."""

    async def start(self) -> str:
        """Listens, and returns the address. Raises SettingsError when it cannot be had."""
        host, _, port = self.address.rpartition(":")
        server = _Server(self._handler, self._observer, self._request_seconds, self._max_connections)
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                server, host.strip("[]"), int(port), backlog=128
            )
        except (OSError, UnicodeError):
            raise SettingsError(
                f"{self._setting}: cannot listen on {self.address}; is the address taken by another process, "
                f"or not this machine's? Choose another with --{self._setting.replace('_', '-')}"
            ) from None
        self._server = server
        self.address = f"{host}:{self._listening.sockets[0].getsockname()[1]}"
        return self.address

    async def stop(self, grace: float) -> None:
        """Listens no more, lets requests in flight end for `grace` seconds, then closes every connection."""
        if self._listening is None or self._server is None:
            return
        self._listening.close()
        await asyncio.sleep(0)  # what was accepted in this turn of the loop gets to its handler
        self._server.pre_shutdown()
        # aiohttp waits twice that long at most, and for ever at 0.
        await self._server.shutdown(max(grace / 2, 0.001))
        self._server.abort_all()
        self._listening = self._server = None


class _Server(web.Server):
    """Makes connections, and keeps their number down."""

    def __init__(
        self, handler: Handler, observer: Observer, request_seconds: float, max_connections: int
    ) -> None:
        super().__init__(self._answer)
        self._handler = handler
        self._observer = observer
        self._request_seconds = request_seconds
        self._max_connections = max_connections
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        """By the time of the last request, or of connecting: longest ago first."""
        self._handling: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._observer, self._request_seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        if len(self._transports) > self._max_connections:
            # The new one at least is not being handled.
            idlest = next(known for known in self._transports if known not in self._handling)
            self._transports.pop(idlest).abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._transports.pop(handler, None)
        super().connection_lost(handler, exc)

    def abort_all(self) -> None:
        """Drops every connection that is still open, with what it has not read yet."""
        for transport in list(self._transports.values()):
            transport.abort()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, _Connection):
            connection.request_arrived()
        if transport := self._transports.pop(connection, None):
            self._transports[connection] = transport
        self._handling.add(connection)
        try:
            return await self._handler(request)
        finally:
            self._handling.discard(connection)


class _Connection(web.RequestHandler):
    """One connection: bounds the wait for a request, and neither logs nor repeats what a client sent."""

    __slots__ = ("_observer", "_patience", "_request_seconds")

    def __init__(self, server: _Server, observer: Observer, request_seconds: float) -> None:
        quiet: dict[str, Any] = {"access_log": None}
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
            **quiet,
        )
        self._observer = observer
        self._request_seconds = request_seconds
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        self._expect_request()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.request_arrived()
        super().connection_lost(exc)

    def request_arrived(self) -> None:
        """The head of a request is complete."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a malformed request (400, whose bytes are not repeated) or to a fault of ours."""
        if status >= 500 and exc is not None:
            self._report(exc)
        response = refusal(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp's way to report a fault; ours is an event."""
        error = kw.get("exc_info")
        if isinstance(error, BaseException):
            self._report(error)

    def _report(self, error: BaseException) -> None:
        self._observer(RpcFault(method="http", request_id="", error=error))

    def _expect_request(self) -> None:
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(self._request_seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()
