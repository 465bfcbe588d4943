"""Unary calls of the Connect protocol (connectrpc.com/docs/protocol): from a request to a response.

Not offered, and said so: compression, GET.
"""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.message import Message

from sidecar.connect.arrivals import Arrival, Identify, refuse_size
from sidecar.connect.errors import JSON_TYPE, encode, error_response, plain_error
from sidecar.connect.messages import Request, Response
from sidecar.connect.opening import PROTO_TYPE, UNARY, Opened
from sidecar.core.clock import Clock
from sidecar.services.calls import Calls, RefusedCall
from sidecar.services.contract import json_parser, request_parser
from sidecar.services.rpcs import UnaryRpc


class UnaryMethod:
    """One unary RPC."""

    def __init__(self, calls: Calls, rpc: UnaryRpc, identify: Identify, clock: Clock) -> None:
        self._identify = identify
        self._clock = clock
        self._handle = calls.around(rpc.service, rpc.method, rpc.behaviour)
        self._from_proto = request_parser(rpc.request_class, rpc.max_request_bytes)
        self._from_json = json_parser(rpc.request_class, rpc.max_request_bytes)
        self._response_class = rpc.response_class
        self.body_limit = rpc.max_request_bytes
        """The largest body of a request, in bytes."""

    async def call(self, request: Request) -> Response:
        """The response to a POST."""
        opened = UNARY.opened(request)
        if opened is None:
            return UNARY.unsupported()
        if not isinstance(opened, Opened):
            return plain_error(opened.code, opened.message, *opened.headers)
        parse = self._from_json if opened.in_json else self._from_proto
        if request.too_large:
            parse = refuse_size(self.body_limit)
        arrival = Arrival(request, self._identify, self._clock, opened.timeout)
        try:
            answered = await self._handle(arrival, request.body, parse)
        except RefusedCall as refused:
            return error_response(refused.error, refused.request_id)
        if not opened.in_json:
            return Response(200, PROTO_TYPE, answered)
        return Response(200, JSON_TYPE, to_json(self._response_class.FromString(answered)))


def to_json(message: Message) -> bytes:
    """A message as JSON (protobuf.dev/programming-guides/json)."""
    return encode(json_format.MessageToDict(message))
