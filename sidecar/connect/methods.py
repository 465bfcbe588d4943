"""The RPCs of the data address by their paths, and what is refused before there is a call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sidecar.connect.arrivals import Identify
from sidecar.connect.errors import plain_error
from sidecar.connect.messages import Request, Response, StreamedResponse
from sidecar.connect.origins import Origins
from sidecar.connect.streaming import StreamMethod
from sidecar.connect.unary import UnaryMethod
from sidecar.core.clock import Clock
from sidecar.services.access import ACCESS, Listener
from sidecar.services.calls import Calls
from sidecar.services.rpcs import StreamRpc, UnaryRpc
from sidecar.services.status import Code

_POST: Final = ((b"allow", b"POST"),)


class Methods:
    """See sidecar.connect.messages.Application."""

    def __init__(
        self,
        calls: Calls,
        rpcs: Iterable[UnaryRpc | StreamRpc],
        identify: Identify,
        clock: Clock,
        origins: Origins | None = None,
    ) -> None:
        self._origins = origins or Origins()
        self._methods: dict[str, UnaryMethod | StreamMethod] = {
            f"/{rpc.service}/{rpc.method}": StreamMethod(calls, rpc, identify, clock)
            if isinstance(rpc, StreamRpc)
            else UnaryMethod(calls, rpc, identify, clock)
            for rpc in rpcs
            if ACCESS[f"{rpc.service}/{rpc.method}"].listener is Listener.DATA
        }

    def body_limit(self, path: str) -> int:
        """The largest body, in bytes, of a call to this path; 0 where nothing is."""
        method = self._methods.get(path)
        return 0 if method is None else method.body_limit

    async def answer(self, request: Request) -> Response | StreamedResponse:
        """The response, whatever the request is."""
        if not self._origins.allows(request):
            return plain_error(
                Code.PERMISSION_DENIED,
                "origin: web pages of this origin may not call; list it in connect_origins",
            )
        method = self._methods.get(request.path)
        if method is None:
            unknown = plain_error(Code.UNIMPLEMENTED, "no such method; paths are /usher.v1.Service/Method")
            return replace(unknown, status=404)  # so the protocol has it
        if request.method != "POST":
            if request.method == "OPTIONS" and request.first(b"origin"):
                return self._origins.preflight(request)
            return Response(405, headers=_POST)
        response = await method.call(request)
        headers = self._origins.headers(request)
        return replace(response, headers=response.headers + headers) if headers else response
