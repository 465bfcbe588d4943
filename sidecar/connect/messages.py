"""A request and a response of HTTP, and who is at the other end of a connection."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from sidecar.services.peers import PeerCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What a connection proves. `certificate` is the client's leaf in PEM, whose chain TLS has verified."""

    certificate: bytes | None = None
    process: PeerCredentials | None = None


class Request:
    """A request. Header names are in lower case. `too_large`: its body is not here, nor will be."""

    __slots__ = ("_fields", "body", "method", "path", "peer", "too_large")

    def __init__(self, method: str, path: str, headers: list[tuple[bytes, bytes]], peer: Peer) -> None:
        self.method = method
        self.path = path
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            self._fields.setdefault(name, []).append(value)
        self.peer = peer
        self.body = b""
        self.too_large = False

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of its header fields, each once, in the order in which they came."""
        return tuple(self._fields)

    def every(self, name: bytes) -> tuple[str, ...]:
        """Every value of a header field."""
        return tuple([value.decode("latin-1") for value in self._fields.get(name, ())])

    def first(self, name: bytes) -> str:
        """The first value of a header field; "" when there is none."""
        values = self._fields.get(name)
        return values[0].decode("latin-1") if values else ""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `headers` holds what is more than its length, date and content type."""

    status: int
    content_type: bytes = b""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def head(self, *, closes: bool) -> bytes:
        """Status line and header fields (RFC 9112 section 2), to the empty line."""
        length = b"content-length: %d\r\n" % len(self.body) if self.status != HTTPStatus.NO_CONTENT else b""
        return _head(self.status, self.content_type, self.headers, length, closes=closes)


Write = Callable[[bytes], Awaitable[None]]
"""Sends a part of a body. Returns when the connection has room for more."""


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response with status 200, whose body is sent while it is made.

    `run` sends parts of it, and returns the last. It raises nothing but what is a fault of ours.
    """

    content_type: bytes
    run: Callable[[Write], Awaitable[bytes]]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def head(self, *, closes: bool) -> bytes:
        """As of a Response."""
        length = b"transfer-encoding: chunked\r\n"
        return _head(HTTPStatus.OK, self.content_type, self.headers, length, closes=closes)


def chunk(data: bytes) -> bytes:
    """A part of a body whose length is not known (RFC 9112 section 7.1); without data, its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Application(Protocol):
    """What answers requests."""

    def body_limit(self, path: str) -> int:
        """The largest body, in bytes, that a request for this path may have."""
        ...

    @property
    def answer(self) -> Callable[[Request], Awaitable[Response | StreamedResponse]]:
        """Answers a request. Raises nothing."""
        ...


def _head(
    status: int,
    content_type: bytes,
    headers: tuple[tuple[bytes, bytes], ...],
    length: bytes,
    *,
    closes: bool,
) -> bytes:
    parts = [_STATUS_LINES[status], b"date: ", _date(), b"\r\n"]
    if content_type:
        parts += [b"content-type: ", content_type, b"\r\n"]
    for name, value in headers:
        parts += [name, b": ", value, b"\r\n"]
    parts += [length, b"connection: close\r\n\r\n" if closes else b"\r\n"]
    return b"".join(parts)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 499, which Connect has for a cancelled call
        return "Client Closed Request"


_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode()
    for status in (*(int(known) for known in HTTPStatus if known >= HTTPStatus.OK), 499)
}
_dated = (0, b"")


def _date() -> bytes:
    """The time as header fields have it (RFC 9110 section 5.6.7), made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, formatdate(now, usegmt=True).encode()
    return _dated[1]
