"""What a unary request says of itself before its message is read: form, deadline, version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sidecar.connect.errors import plain_error
from sidecar.connect.messages import Request, Response
from sidecar.services.status import Code

PROTO_TYPE: Final = b"application/proto"
_TIMEOUT: Final = re.compile(r"[0-9]{1,10}\Z")
_TYPES: Final = ((b"accept-post", b"application/json, application/proto"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """How a call is to be read and answered. `timeout` is in seconds; None when the caller gives none."""

    in_json: bool
    timeout: float | None


def open_call(request: Request) -> Opened | Response:
    """What the header fields say, or the response to those that break the rules."""
    content_type = request.first(b"content-type").partition(";")[0].strip().lower()
    if content_type not in ("application/json", "application/proto"):
        return Response(415, headers=_TYPES)
    if request.first(b"connect-protocol-version") not in ("", "1"):
        return plain_error(Code.INVALID_ARGUMENT, "connect-protocol-version: must be 1")
    if request.first(b"content-encoding") not in ("", "identity"):
        return plain_error(
            Code.UNIMPLEMENTED,
            "content-encoding: requests are not compressed here; send them as they are",
            (b"accept-encoding", b"identity"),
        )
    timeout_ms = request.first(b"connect-timeout-ms")
    if timeout_ms and not _TIMEOUT.match(timeout_ms):
        return plain_error(Code.INVALID_ARGUMENT, "connect-timeout-ms: must be up to ten digits")
    return Opened(
        in_json=content_type == "application/json", timeout=int(timeout_ms) / 1000 if timeout_ms else None
    )
