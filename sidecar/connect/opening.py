"""What a request says of itself before its message is read: form, deadline, version."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from sidecar.connect.errors import JSON_TYPE
from sidecar.connect.messages import Request, Response
from sidecar.services.status import Code

PROTO_TYPE: Final = b"application/proto"
_TIMEOUT: Final = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """How a call is to be read and answered. `timeout` is in seconds; None when the caller gives none."""

    in_json: bool
    timeout: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong in the protocol itself, before there is a call."""

    code: Code
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form that calls have: unary or streaming."""

    proto: bytes
    json: bytes
    compression: bytes
    """The header field that names one."""

    def opened(self, request: Request) -> Opened | Fault | None:
        """What the header fields say, or what is wrong with them; None for another form (415)."""
        kind = content_type(request)
        if kind not in (self.json, self.proto):
            return None
        if request.first(b"connect-protocol-version") not in ("", "1"):
            return Fault(code=Code.INVALID_ARGUMENT, message="connect-protocol-version: must be 1")
        if request.first(self.compression) not in ("", "identity"):
            return Fault(
                code=Code.UNIMPLEMENTED,
                message=f"{self.compression.decode()}: requests are not compressed here; send them plain",
                headers=((self.compression.replace(b"content", b"accept"), b"identity"),),
            )
        timeout_ms = request.first(b"connect-timeout-ms")
        if timeout_ms and not _TIMEOUT.match(timeout_ms):
            return Fault(code=Code.INVALID_ARGUMENT, message="connect-timeout-ms: must be up to ten digits")
        timeout = int(timeout_ms) / 1000 if timeout_ms else None
        return Opened(in_json=kind == self.json, timeout=timeout)

    def unsupported(self) -> Response:
        """The response to a request of another form."""
        return Response(415, headers=((b"accept-post", self.json + b", " + self.proto),))


def content_type(request: Request) -> bytes:
    """The media type of a request's body, without parameters."""
    return _media_type(request.first(b"content-type"))


@functools.lru_cache(maxsize=64)
def _media_type(field: str) -> bytes:
    """The type in a field that is the same with nearly every request."""
    return field.partition(";")[0].strip().lower().encode("latin-1")


UNARY: Final = Form(proto=PROTO_TYPE, json=JSON_TYPE, compression=b"content-encoding")
STREAMING: Final = Form(
    proto=b"application/connect+proto",
    json=b"application/connect+json",
    compression=b"connect-content-encoding",
)
