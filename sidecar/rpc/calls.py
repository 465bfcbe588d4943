"""Calls as gRPC brings them: bytes in and out, so that malformed ones get our own error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from sidecar.core.callers import Caller
from sidecar.rpc.status import Refusal
from sidecar.services.access import ACCESS, SMALL_REQUEST_BYTES, Listener
from sidecar.services.calls import Behaviour, Calls, RefusedCall, StreamBehaviour
from sidecar.services.contract import request_parser

M = TypeVar("M", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]

Identify = Callable[["Arrival", Listener], Awaitable[Caller]]
"""Who makes a call. Raises UsherError for a caller that proves nothing where a proof is needed."""


class Arrival:
    """One gRPC call. Its metadata is read once: gRPC makes it anew for whoever asks."""

    __slots__ = ("_context", "_identify", "_listener", "metadata", "time_remaining")

    def __init__(self, context: Context, identify: Identify, listener: Listener) -> None:
        self._context = context
        self._identify = identify
        self._listener = listener
        self.metadata: Metadata = context.invocation_metadata() or ()
        self.time_remaining = context.time_remaining

    def request_ids(self) -> tuple[str, ...]:
        """As services.calls.Arrival."""
        return tuple(
            [value for key, value in self.metadata if key == "x-request-id" and isinstance(value, str)]
        )

    async def caller(self) -> Caller:
        """As services.calls.Arrival."""
        return await self._identify(self, self._listener)

    def peer(self) -> str:
        """The other end of the connection, as gRPC shows it."""
        return self._context.peer()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS has verified."""
        return self._context.auth_context()


class CallFactory:
    """Makes gRPC method handlers."""

    def __init__(self, calls: Calls, identify: Identify) -> None:
        self._calls = calls
        self._identify = identify

    def unary(
        self,
        service: str,
        method: str,
        request_class: type[M],
        behaviour: Behaviour[M],
        max_message_bytes: int = SMALL_REQUEST_BYTES,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of one unary method."""
        access = ACCESS[f"{service}/{method}"]
        parse = request_parser(request_class, access.max_request_bytes or max_message_bytes)
        run = self._calls.around(service, method, behaviour)
        identify, listener = self._identify, access.listener

        async def handle(data: bytes, context: Context) -> bytes:
            try:
                return await run(Arrival(context, identify, listener), data, parse)
            except RefusedCall as refused:
                refusal = Refusal(refused.error, refused.request_id)
            await context.abort_with_status(refusal)

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(
        self,
        service: str,
        method: str,
        request_class: type[M],
        behaviour: StreamBehaviour[M],
        max_message_bytes: int,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of one method with many responses."""
        parse = request_parser(request_class, max_message_bytes)
        run = self._calls.around_stream(service, method, behaviour)
        identify, listener = self._identify, ACCESS[f"{service}/{method}"].listener

        async def handle(data: bytes, context: Context) -> None:
            async def write(message: bytes) -> None:
                try:
                    # It waits for HTTP/2's flow control, and so for the caller.
                    await context.write(message)
                except grpc.aio.InternalError:
                    # The caller is gone; the call's cancellation is on its way.
                    raise asyncio.CancelledError from None

            try:
                return await run(Arrival(context, identify, listener), data, parse, write)
            except RefusedCall as refused:
                refusal = Refusal(refused.error, refused.request_id)
            await context.abort_with_status(refusal)

        return grpc.unary_stream_rpc_method_handler(handle)
