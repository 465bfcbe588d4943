"""Server streams of the Connect protocol (connectrpc.com/docs/protocol): one request, many responses.

Each message is in an envelope: flags, length, data. The last one is JSON, and says how the call ended; the
HTTP status is 200 in any case.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sidecar.connect.arrivals import Arrival, Identify, refuse_size
from sidecar.connect.errors import document_of, encode, error_document
from sidecar.connect.messages import Request, Response, StreamedResponse, Write
from sidecar.connect.opening import STREAMING, Fault, Opened, content_type
from sidecar.connect.unary import to_json
from sidecar.core.clock import Clock
from sidecar.services.calls import Calls, RefusedCall
from sidecar.services.contract import json_parser, request_parser
from sidecar.services.rpcs import StreamRpc
from sidecar.services.status import Code

_ENVELOPE: Final = struct.Struct("!BI")
_COMPRESSED: Final = 0x01
_END: Final = 0x02
"""The flag of the last message of a stream."""


Run = Callable[[Request, Opened, bytes, Write], Awaitable[dict[str, Any]]]
"""Sends the messages of a stream, given that of the request; returns what the end says."""


class StreamMethod:
    """One RPC with many responses."""

    def __init__(self, calls: Calls, rpc: StreamRpc, identify: Identify, clock: Clock) -> None:
        self._identify = identify
        self._clock = clock
        self._handle = calls.around_stream(rpc.service, rpc.method, rpc.behaviour)
        self._from_proto = request_parser(rpc.request_class, rpc.max_request_bytes)
        self._from_json = json_parser(rpc.request_class, rpc.max_request_bytes)
        self._response_class = rpc.response_class
        self._limit = rpc.max_request_bytes
        self.body_limit = rpc.max_request_bytes + _ENVELOPE.size
        """The largest body of a request, in bytes."""

    async def call(self, request: Request) -> Response | StreamedResponse:
        """The response to a POST."""
        opened = STREAMING.opened(request)
        if opened is None:
            return STREAMING.unsupported()
        # One that is too large is not here, and refused by the call itself.
        message = b"" if request.too_large else message_in(request.body)
        return streamed(request, opened, message, self._run)

    async def _run(self, request: Request, opened: Opened, message: bytes, write: Write) -> dict[str, Any]:
        parse = self._from_json if opened.in_json else self._from_proto
        if request.too_large:
            parse = refuse_size(self._limit)
        arrival = Arrival(request, self._identify, self._clock, opened.timeout)

        async def send(message: bytes) -> None:
            data = to_json(self._response_class.FromString(message)) if opened.in_json else message
            await write(enveloped(data))

        try:
            await self._handle(arrival, message, parse, send)
        except RefusedCall as refused:
            return {"error": error_document(refused.error, refused.request_id)[1]}
        return {}


def streamed(
    request: Request,
    opened: Opened | Fault,
    message: bytes | Fault,
    run: Run,
) -> StreamedResponse:
    """The response whose messages `run` sends, or which says what is wrong."""
    fault = next((found for found in (opened, message) if isinstance(found, Fault)), None)

    async def body(write: Write) -> bytes:
        if isinstance(opened, Opened) and isinstance(message, bytes):
            end = await run(request, opened, message, write)
        else:
            assert fault is not None
            end = {"error": document_of(fault.code, fault.message, [])}
        return enveloped(encode(end), _END)

    return StreamedResponse(content_type(request), body, fault.headers if fault else ())


def enveloped(data: bytes, flags: int = 0) -> bytes:
    """A message in its envelope."""
    return _ENVELOPE.pack(flags, len(data)) + data


def message_in(body: bytes) -> bytes | Fault:
    """The one message of a request, or what is wrong with it."""
    if len(body) >= _ENVELOPE.size:
        flags, size = _ENVELOPE.unpack_from(body)
        if flags & _COMPRESSED:
            return Fault(code=Code.INTERNAL, message="the message is said to be compressed, but not how")
        if flags == 0 and size == len(body) - _ENVELOPE.size:
            return body[_ENVELOPE.size :]
    return Fault(code=Code.UNIMPLEMENTED, message="the request must be one message in its envelope")
