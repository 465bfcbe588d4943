"""What happens around every call: caller, parse, deadline, errors, one event. Built once for a method."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.deadline import set_deadline
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import Observer, RpcFault, RpcFinished
from sidecar.core.policy import Authorizer
from sidecar.rpc.access import ACCESS, SMALL_REQUEST_BYTES, Listener, check_needs
from sidecar.rpc.contract import request_parser
from sidecar.rpc.status import CODES, Refusal

M = TypeVar("M", bound=Message)

Behaviour = Callable[[M, Caller], Awaitable[bytes]]
"""A service method: a checked request and who asks in, the serialized response out."""

Identify = Callable[["grpc.aio.ServicerContext[Any, Any]", Listener], Awaitable[Caller]]
"""Who makes a call. Raises UsherError for a caller that proves nothing where a proof is needed."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SLACK_SECONDS: Final = 0.1


class CallFactory:
    """Makes gRPC method handlers."""

    def __init__(
        self,
        clock: Clock,
        observer: Observer,
        default_deadline: float,
        authorizer: Authorizer,
        identify: Identify,
        *,
        max_deadline: float = 60.0,
        max_concurrent: int = 1000,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._default_deadline = default_deadline
        self._authorizer = authorizer
        self._identify = identify
        self._max_deadline = max_deadline
        self._max_concurrent = max_concurrent
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusing = False

    def refuse_new(self) -> None:
        """Refuses every call from now on, those already running excepted: the server is about to stop."""
        self._refusing = True

    async def until_idle(self, grace: float) -> None:
        """Returns when no call is running any more, or after `grace` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    def _enter(self) -> None:
        if self._refusing:
            raise UsherError(Reason.SHUTTING_DOWN, "the server is shutting down; retry on another")
        if self._running >= self._max_concurrent:
            raise UsherError(
                Reason.TOO_MANY_CALLS,
                f"the server runs {self._max_concurrent} calls, as many as it admits; retry later",
                {"limit": str(self._max_concurrent)},
            )
        self._running += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._idle.set()

    def unary(
        self,
        service: str,
        method: str,
        request_class: type[M],
        behaviour: Behaviour[M],
        max_message_bytes: int = SMALL_REQUEST_BYTES,
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of one unary method. Bytes go in and out, so that malformed ones get our own error."""
        access = ACCESS[f"{service}/{method}"]
        parse = request_parser(request_class, access.max_request_bytes or max_message_bytes)
        clock, observer, listener = self._clock, self._observer, access.listener
        identify, admit = self._identify, self._authorizer.admit

        async def handle(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            started = clock.monotonic()
            request_id = _request_id(context)
            remaining = self._remaining(context)
            deadline = asyncio.timeout(remaining)
            set_deadline(started + remaining)
            caller: Caller | None = None
            code, failed_with = "OK", None
            try:
                self._enter()
                try:
                    async with deadline:
                        # Who may not call the method learns nothing about the request (AIP-211).
                        caller = await identify(context, listener)
                        check_needs(access, caller)
                        admit(caller, method)
                        return await behaviour(parse(data), caller)
                finally:
                    self._leave()
            except UsherError as error:
                failed_with = error
            except asyncio.CancelledError:
                # gRPC cancels the call as well when the caller's deadline passes, and sometimes comes first.
                code, failed_with = "CANCELLED", _deadline_exceeded() if _is_past(context) else None
                raise
            except Exception as error:
                if isinstance(error, TimeoutError) and deadline.expired():
                    failed_with = _deadline_exceeded()
                else:  # a fault of ours: the caller learns that, the log learns the rest
                    observer(RpcFault(method=f"{service}/{method}", request_id=request_id, error=error))
                    failed_with = UsherError(
                        Reason.INTERNAL, f"an unexpected fault; the log has the cause under {request_id}"
                    )
            finally:
                if failed_with is not None:
                    code = CODES[failed_with.reason].name
                observer(
                    RpcFinished(
                        service=service,
                        method=method,
                        code=code,
                        reason=failed_with.reason.value if failed_with else "",
                        blame=failed_with.blame.value if failed_with else "",
                        seconds=clock.monotonic() - started,
                        request_id=request_id,
                        caller=caller.name if caller is not None else "",
                        identity=caller.identity if caller is not None else "",
                    )
                )
            await context.abort_with_status(Refusal(failed_with, request_id))

        return grpc.unary_unary_rpc_method_handler(handle)

    def _remaining(self, context: grpc.aio.ServicerContext[Any, Any]) -> float:
        """Seconds until the caller's deadline, which the server caps; its default when there is none."""
        remaining = context.time_remaining()
        if remaining is None:
            return self._default_deadline
        return min(max(0.0, remaining), self._max_deadline)


def _is_past(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether the caller's deadline has passed, or is about to: both sides count from different moments."""
    remaining = context.time_remaining()
    return remaining is not None and remaining < _SLACK_SECONDS


def _deadline_exceeded() -> UsherError:
    return UsherError(
        Reason.DEADLINE_EXCEEDED,
        "the deadline passed before the call was done; a statement was cancelled unless it had already "
        "committed: look before you repeat a write",
    )


def _request_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller's x-request-id when it is a plain one, else a new id: hostile text never reaches a log."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.match(value):
            return value
    return uuid.uuid4().hex
