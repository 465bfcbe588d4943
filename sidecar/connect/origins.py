"""Which web pages may call: none, unless their origin is listed.

A browser names the origin of the page in each POST (Fetch standard, "Origin header"), also when the name of
the page is made to point to this address later (DNS rebinding). So an origin that is not listed is refused,
not only unheard.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.connect.messages import Request, Response

_MAX_AGE: Final = b"7200"
"""Seconds for which a browser may remember a preflight; browsers take no more."""
_ALLOWED_HEADERS: Final = (
    b"authorization, connect-protocol-version, connect-timeout-ms, content-type, x-request-id, x-user-agent"
)
_EXPOSED_HEADERS: Final = b"retry-after"


class Origins:
    """The origins that are listed, such as https://app.example.org."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._listed = frozenset(listed)

    def allows(self, request: Request) -> bool:
        """Whether the request comes from no web page, or from one that is listed."""
        return all(origin in self._listed for origin in request.every(b"origin"))

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks before it calls (Fetch standard, "CORS-preflight request")."""
        return Response(
            204,
            headers=(
                *self.headers(request),
                (b"access-control-allow-methods", b"POST"),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", _MAX_AGE),
            ),
        )

    def headers(self, request: Request) -> tuple[tuple[bytes, bytes], ...]:
        """What lets a listed page read the response."""
        origin = request.first(b"origin")
        if origin not in self._listed:
            return ()
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
            (b"vary", b"origin"),
        )
