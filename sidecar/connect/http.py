"""One connection of HTTP/1.1 (RFC 9112): one request at a time, every size and every wait bounded.

The parser is llhttp, in its strict mode. A body is never kept beyond what its path admits. When the client
leaves, its call is cancelled, as gRPC does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Final, Protocol, cast

import httptools

from sidecar.connect.messages import Application, Peer, Request, Response, StreamedResponse, chunk

REQUEST_SECONDS: Final = 10.0
"""For a whole request, once it has begun, and for the client to take the response."""
KEEP_ALIVE_SECONDS: Final = 630.0
"""For an idle connection. Longer than clients and load balancers keep theirs (600 s at most)."""
MAX_HEAD_BYTES: Final = 16 * 1024
"""Of a request's line and header fields together."""
MAX_HEADERS: Final = 64
_LINGER_SECONDS: Final = 1.0
"""For reading what is left of a refused request, so that the client can read the refusal."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Keeper(Protocol):
    """Who keeps count of connections."""

    @property
    def draining(self) -> bool:
        """Whether each connection ends after its response."""
        ...

    def admit(self, connection: Connection, transport: asyncio.Transport) -> Peer | None:
        """Takes a new connection and says who is there; None when it is not taken."""
        ...

    def busy(self, connection: Connection) -> None:
        """A request has come."""
        ...

    def idle(self, connection: Connection) -> None:
        """Its response is sent."""
        ...

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        ...

    def fault(self, error: Exception) -> None:
        """A fault of ours."""
        ...


class _Refused(Exception):
    """The request is answered with this status, and the connection closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.Protocol):
    """One connection, from the first byte to the last."""

    def __init__(self, application: Application, keeper: Keeper) -> None:
        self._application = application
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._peer = Peer()
        self._parser: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._drained = self._stays = True
        self._room: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        """Ready for a request."""
        self._url = b""
        self._head_bytes = self._fields_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None
        self._chunks: list[bytes] = []
        self._size = self._limit = 0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        both_ways = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = self._keeper.admit(self, both_ways)
        if peer is None:
            both_ways.abort()
            return
        self._transport, self._peer = both_ways, peer
        self._parser = httptools.HttpRequestParser(self)
        self._wait(REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self._closing or self._transport is None:
            return  # what a refused client goes on to send
        if self._task is not None:
            # Another request before the response to this one: it is not taken, and may be sent again
            # (RFC 9112 section 9.3.2).
            self._closing = True
            self._transport.pause_reading()
            return
        if self._request is None:
            if not self._head_bytes:
                self._wait(REQUEST_SECONDS)
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._request is None and self._head_bytes > MAX_HEAD_BYTES:
                raise _Refused(431)
        except httptools.HttpParserUpgrade:
            self._closing = True  # not a protocol that is spoken here: the request is answered as it is
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, _Refused) else 400)
        except _Refused as refused:
            self._refuse(refused.status)

    def pause_writing(self) -> None:
        self._drained = False

    def resume_writing(self) -> None:
        self._drained = True
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._task is None and not self._closing:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing, self._transport = True, None
        self._cancel_timer()
        if self._task is not None:
            self._task.cancel()
        self._keeper.forget(self)

    def close_when_idle(self) -> None:
        """Ends the connection: now, or after the response that is being made."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drops the connection."""
        if self._transport is not None:
            self._transport.abort()

    # The parser's side.

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_HEAD_BYTES:
            raise _Refused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:
            return  # a trailer, of which none means anything here
        self._headers.append((name.lower(), value))
        self._fields_bytes += len(name) + len(value)
        if len(self._headers) > MAX_HEADERS or self._fields_bytes > MAX_HEAD_BYTES:
            raise _Refused(431)

    def on_headers_complete(self) -> None:
        if self._task is not None:
            return  # of a request that is not taken
        path = self._url.partition(b"?")[0].decode("latin-1")
        request = Request(self._parser.get_method().decode("latin-1"), path, self._headers, self._peer)
        self._request = request
        self._limit = self._application.body_limit(path)
        self._stays = self._parser.should_keep_alive()
        length = request.first(b"content-length")
        if length.isdigit() and int(length) > self._limit:
            self._too_large()
        elif request.first(b"expect").lower() == "100-continue" and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        if self._task is not None:
            return
        self._size += len(body)
        if self._size > self._limit:
            self._too_large()
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._task is not None:
            self._closing = self._closing or self._request is None or not self._request.too_large
            return
        request = self._request
        assert request is not None
        request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._run(request)

    # A request and its response.

    def _too_large(self) -> None:
        """Answers now; the rest is not wanted, and the connection has no further use."""
        assert self._request is not None
        self._request.too_large, self._chunks = True, []
        self._closing = True
        self._run(self._request)

    def _run(self, request: Request) -> None:
        self._until = None
        self._keeper.busy(self)
        self._task = self._loop.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._application.answer(request)
        except Exception as error:
            self._keeper.fault(error)
            response = Response(500)
        if isinstance(response, StreamedResponse) and self._parser.get_http_version() == "1.0":
            response = Response(505)  # which knows no body of unknown length
        if self._transport is None:
            return
        closes = self._closing or self._keeper.draining or not self._stays
        if isinstance(response, StreamedResponse):
            if not await self._stream(response, closes=closes):
                return
            closes = closes or self._closing or self._keeper.draining
            self._task = None
        else:
            self._task = None
            self._write(response, closes=closes, head_only=request.method == "HEAD")
        if closes:
            self._end()
        elif self._drained:
            self._next()
        else:
            self._wait(REQUEST_SECONDS)
            self._transport.pause_reading()

    async def _stream(self, response: StreamedResponse, *, closes: bool) -> bool:
        """Sends a response while it is made; false when the connection is gone."""
        assert self._transport is not None
        self._transport.write(response.head(closes=closes))
        try:
            last = await response.run(self._send)
        except Exception as error:
            self._keeper.fault(error)
            self.abort()  # a body without its end: the client sees that it was cut
            return False
        if self._transport is None:
            return False
        self._transport.write(chunk(last) + chunk(b""))
        return True

    async def _send(self, part: bytes) -> None:
        """Writes a part of a body, and waits until the client has taken most of it."""
        if self._transport is not None:
            self._transport.write(chunk(part))
        if not self._drained:
            self._room = self._loop.create_future()
            await self._room

    def _next(self) -> None:
        """Waits for the next request."""
        if self._transport is None:
            return
        self._begin()
        self._keeper.idle(self)
        if not self._transport.is_reading():
            self._transport.resume_reading()
        self._wait(KEEP_ALIVE_SECONDS)

    def _refuse(self, status: int) -> None:
        """Answers a request that is none; its bytes are not repeated."""
        self._closing = True
        if self._task is None:
            self._write(Response(status), closes=True, head_only=False)
            self._end()

    def _write(self, response: Response, *, closes: bool, head_only: bool) -> None:
        assert self._transport is not None
        head = response.head(closes=closes)
        self._transport.write(head if head_only else head + response.body)

    def _end(self) -> None:
        """Closes after what is written. Bytes that nobody read would have the response thrown away."""
        assert self._transport is not None
        self._closing = True
        if self._transport.can_write_eof() and self._drained:
            with contextlib.suppress(OSError):
                self._transport.write_eof()
                self._transport.resume_reading()
                self._wait(_LINGER_SECONDS)
                return
        self._wait(REQUEST_SECONDS)
        self._transport.close()

    def _wait(self, seconds: float) -> None:
        """Drops the connection unless something happens before."""
        self._until = self._loop.time() + seconds
        # A timer that is due earlier looks again then: one for each request would fill the loop's heap.
        if self._timer is None or self._timer.when() > self._until:
            self._cancel_timer()
            self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() >= self._until:
            self.abort()
        else:
            self._timer = self._loop.call_at(self._until, self._look)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def peer_certificate(transport: asyncio.Transport) -> bytes | None:
    """The client's certificate in PEM; TLS has verified its chain."""
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return ssl.DER_cert_to_PEM_cert(der).encode() if der else None
