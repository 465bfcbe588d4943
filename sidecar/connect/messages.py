"""A request and a response of HTTP, whole, and who is at the other end of a connection."""

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

    __slots__ = ("body", "headers", "method", "path", "peer", "too_large")

    def __init__(self, method: str, path: str, headers: list[tuple[bytes, bytes]], peer: Peer) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.peer = peer
        self.body = b""
        self.too_large = False

    def every(self, name: bytes) -> tuple[str, ...]:
        """Every value of a header field."""
        return tuple(value.decode("latin-1") for key, value in self.headers if key == name)

    def first(self, name: bytes) -> str:
        """The first value of a header field; "" when there is none."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `headers` holds what is more than its length, date and content type."""

    status: int
    content_type: bytes = b""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def head(self, *, closes: bool) -> bytes:
        """Status line and header fields (RFC 9112 section 2), to the empty line."""
        parts = [_STATUS_LINES[self.status], b"date: ", _date(), b"\r\n"]
        if self.content_type:
            parts += [b"content-type: ", self.content_type, b"\r\n"]
        for name, value in self.headers:
            parts += [name, b": ", value, b"\r\n"]
        if self.status != HTTPStatus.NO_CONTENT:
            parts.append(b"content-length: %d\r\n" % len(self.body))
        parts.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
        return b"".join(parts)


class Application(Protocol):
    """What answers requests."""

    def body_limit(self, path: str) -> int:
        """The largest body, in bytes, that a request for this path may have."""
        ...

    @property
    def answer(self) -> Callable[[Request], Awaitable[Response]]:
        """Answers a request. Raises nothing."""
        ...


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
