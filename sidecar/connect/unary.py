"""Unary calls of the Connect protocol (connectrpc.com/docs/protocol): from a request to a response.

Not offered, and said so: compression, GET, streams.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from sidecar.connect.errors import JSON_TYPE, error_response, plain_error
from sidecar.connect.messages import Request, Response
from sidecar.connect.opening import PROTO_TYPE, open_call
from sidecar.connect.origins import Origins
from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.errors import invalid_field
from sidecar.services.access import ACCESS, Listener
from sidecar.services.calls import Calls, Handle, Parse, RefusedCall
from sidecar.services.contract import json_parser, request_parser
from sidecar.services.rpcs import Rpc
from sidecar.services.status import Code

_POST: Final = ((b"allow", b"POST"),)

Identify = Callable[[Request], Awaitable[Caller]]
"""Who makes a call. Raises UsherError for a caller that proves nothing where a proof is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    handle: Handle[Any]
    from_proto: Parse[Any]
    from_json: Parse[Any]
    response_class: type[Message]
    limit: int


class _Arrival:
    """One call."""

    __slots__ = ("_clock", "_deadline", "_identify", "_request")

    def __init__(self, request: Request, identify: Identify, clock: Clock, timeout: float | None) -> None:
        self._request = request
        self._identify = identify
        self._clock = clock
        self._deadline = None if timeout is None else clock.monotonic() + timeout

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else self._deadline - self._clock.monotonic()

    def request_ids(self) -> tuple[str, ...]:
        return self._request.every(b"x-request-id")

    async def caller(self) -> Caller:
        return await self._identify(self._request)


class Unary:
    """The RPCs of the data address, by their paths."""

    def __init__(
        self,
        calls: Calls,
        rpcs: Iterable[Rpc],
        identify: Identify,
        clock: Clock,
        origins: Origins | None = None,
    ) -> None:
        self._identify = identify
        self._clock = clock
        self._origins = origins or Origins()
        self._methods = {
            f"/{rpc.service}/{rpc.method}": _Method(
                handle=calls.around(rpc.service, rpc.method, rpc.behaviour),
                from_proto=request_parser(rpc.request_class, rpc.max_request_bytes),
                from_json=json_parser(rpc.request_class, rpc.max_request_bytes),
                response_class=rpc.response_class,
                limit=rpc.max_request_bytes,
            )
            for rpc in rpcs
            if ACCESS[f"{rpc.service}/{rpc.method}"].listener is Listener.DATA
        }

    def body_limit(self, path: str) -> int:
        """The largest body, in bytes, of a call to this path; 0 where nothing is."""
        method = self._methods.get(path)
        return 0 if method is None else method.limit

    async def answer(self, request: Request) -> Response:
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
        response = await self._call(method, request)
        headers = self._origins.headers(request)
        return replace(response, headers=response.headers + headers) if headers else response

    async def _call(self, method: _Method, request: Request) -> Response:
        """The response to a POST to a method."""
        opened = open_call(request)
        if isinstance(opened, Response):
            return opened
        in_json, timeout = opened.in_json, opened.timeout
        parse = method.from_json if in_json else method.from_proto
        arrival = _Arrival(request, self._identify, self._clock, timeout)
        try:
            answered = await method.handle(
                arrival, request.body, _refuse_size(method.limit) if request.too_large else parse
            )
        except RefusedCall as refused:
            return error_response(refused.error, refused.request_id)
        if not in_json:
            return Response(200, PROTO_TYPE, answered)
        return Response(200, JSON_TYPE, to_json(method.response_class.FromString(answered)))


def to_json(message: Message) -> bytes:
    """A message as JSON (protobuf.dev/programming-guides/json)."""
    return json.dumps(json_format.MessageToDict(message), ensure_ascii=False, separators=(",", ":")).encode()


def _refuse_size(limit: int) -> Parse[Any]:
    def refuse(data: bytes) -> Any:
        raise invalid_field("request", f"has more bytes than the limit, which is {limit}; send less")

    return refuse
