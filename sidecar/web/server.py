"""An HTTP/1.1 listener with limits: on header sizes, on slow clients, on connections held at once."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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
"""Past it, of the source that has most connections, the one whose last request is longest ago is closed: a
crowd of idle clients keeps no new one out, and cuts off none that is in use or comes from elsewhere."""
BACKLOG: Final = 128
"""Connections that wait to be taken up."""
_LINGER_SECONDS: Final = 2.0
"""For reading what is left of a body that nobody asked for, so that the client can read the refusal."""


async def bind(setting: str, address: str) -> tuple[socket.socket, ...]:
    """Sockets bound to an address, one for each that its host name stands for; none listens yet.

    Raises SettingsError, which names the setting, when the address cannot be had.
    """
    host, _, port = address.rpartition(":")
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host.strip("[]"), int(port), start_serving=False
        )
    except (OSError, UnicodeError):
        raise SettingsError(
            f"{setting}: cannot listen on {address}; is the address taken by another process, or not this "
            f"machine's? Choose another with --{setting.replace('_', '-')}"
        ) from None
    bound = tuple(socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets)
    server.close()
    return bound


def address_of(address: str, bound: Sequence[socket.socket]) -> str:
    """The address with the port that port 0 became."""
    return f"{address.rpartition(':')[0]}:{bound[0].getsockname()[1]}"


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
        self._listening: list[asyncio.Server] = []
        self.address = address
        """host:port where it listens, with the port that port 0 became."""

    async def start(self, sockets: Sequence[socket.socket] = ()) -> str:
        """Listens, on sockets that are bound already if there are any, and returns the address.

        Raises SettingsError when it cannot be had.
        """
        sockets = sockets or await bind(self._setting, self.address)
        self._server = _Server(self._handler, self._observer, self._request_seconds, self._max_connections)
        loop = asyncio.get_running_loop()
        self._listening = [
            await loop.create_server(self._server, sock=each, backlog=BACKLOG) for each in sockets
        ]
        self.address = address_of(self.address, sockets)
        return self.address

    async def stop(self, grace: float) -> None:
        """Listens no more, lets requests in flight end for `grace` seconds, then closes every connection."""
        if self._server is None:
            return
        for listening in self._listening:
            listening.close()
        await asyncio.sleep(0)  # what was accepted in this turn of the loop gets to its handler
        self._server.pre_shutdown()
        # aiohttp waits twice that long at most, and for ever at 0.
        await self._server.shutdown(max(grace / 2, 0.001))
        self._server.abort_all()
        self._listening, self._server = [], None


@dataclass(frozen=True, slots=True)
class _Peer:
    """The other end of a connection."""

    transport: asyncio.Transport
    source: str


def source(peer: Any) -> str:
    """Who counts as one: an IPv4 address, or the /64 that an IPv6 host may have for itself (RFC 6177).

    `peer` is a peer name of the socket module; "" for one that is no address.
    """
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (ValueError, TypeError, IndexError, AttributeError):
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


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
        self._transports: dict[web.RequestHandler, _Peer] = {}
        """By the time of the last request, or of connecting: longest ago first."""
        self._handling: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._observer, self._request_seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = _Peer(transport, source(transport.get_extra_info("peername")))
        if len(self._transports) > self._max_connections:
            self._transports.pop(self._most_dispensable()).transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._transports.pop(handler, None)
        super().connection_lost(handler, exc)

    def abort_all(self) -> None:
        """Drops every connection that is still open, with what it has not read yet."""
        for peer in list(self._transports.values()):
            peer.transport.abort()

    def _most_dispensable(self) -> web.RequestHandler:
        """None whose request is being handled: the new one at least is not."""
        idle = [known for known in self._transports if known not in self._handling]
        counts = Counter(self._transports[known].source for known in idle)
        most = max(counts.values())
        return next(known for known in idle if counts[self._transports[known].source] == most)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, _Connection):
            connection.request_arrived()
        if peer := self._transports.pop(connection, None):
            self._transports[connection] = peer
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
