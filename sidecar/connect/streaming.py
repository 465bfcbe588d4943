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
from sidecar.core.errors import Reason, UsherError
from sidecar.services.calls import Calls, Parse, RefusedCall
from sidecar.services.contract import json_parser, request_parser
from sidecar.services.rpcs import StreamRpc

_ENVELOPE: Final = struct.Struct("!BI")
_END: Final = 0x02
"""The flag of the last message of a stream."""


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
        return streamed(request, opened, lambda opened, write: self._run(request, opened, write))

    async def _run(self, request: Request, opened: Opened, write: Write) -> dict[str, Any]:
        parse = self._from_json if opened.in_json else self._from_proto
        arrival = Arrival(request, self._identify, self._clock, opened.timeout)

        async def send(message: bytes) -> None:
            data = to_json(self._response_class.FromString(message)) if opened.in_json else message
            await write(enveloped(data))

        try:
            await self._handle(
                arrival,
                request.body,
                refuse_size(self._limit) if request.too_large else _within(parse),
                send,
            )
        except RefusedCall as refused:
            return {"error": error_document(refused.error, refused.request_id)[1]}
        return {}


def streamed(
    request: Request,
    opened: Opened | Fault,
    run: Callable[[Opened, Write], Awaitable[dict[str, Any]]],
) -> StreamedResponse:
    """The response whose messages `run` sends; it returns what the last one says."""

    async def body(write: Write) -> bytes:
        if isinstance(opened, Fault):
            end = {"error": document_of(opened.code, opened.message, [])}
        else:
            end = await run(opened, write)
        return enveloped(encode(end), _END)

    headers = opened.headers if isinstance(opened, Fault) else ()
    return StreamedResponse(content_type(request), body, headers)


def enveloped(data: bytes, flags: int = 0) -> bytes:
    """A message in its envelope."""
    return _ENVELOPE.pack(flags, len(data)) + data


def message_in(body: bytes) -> bytes:
    """The one message of a request. Raises MALFORMED_REQUEST for a body that is anything else."""
    if len(body) >= _ENVELOPE.size:
        flags, size = _ENVELOPE.unpack_from(body)
        if flags == 0 and size == len(body) - _ENVELOPE.size:
            return body[_ENVELOPE.size :]
    raise UsherError(
        Reason.MALFORMED_REQUEST,
        "the body is not one message in its envelope: a byte 0, four bytes of length, the message",
    )


def _within(parse: Parse[Any]) -> Parse[Any]:
    return lambda body: parse(message_in(body))
