"""What happens around every call of any transport: caller, parse, deadline, errors, one event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, TypeVarTuple

from google.protobuf.message import Message

from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.deadline import OutOfTime, set_deadline, within
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import Observer, RpcFault, RpcFinished
from sidecar.core.policy import Authorizer
from sidecar.services.access import ACCESS, Listener, check_needs
from sidecar.services.admission import Admission
from sidecar.services.status import CODES

M = TypeVar("M", bound=Message)
Rest = TypeVarTuple("Rest")

Write = Callable[[bytes], Awaitable[None]]
"""Sends one serialized message of a stream. Returns when the transport has room for more."""

Behaviour = Callable[[M, Caller], Awaitable[bytes]]
"""A service method: a checked request and who asks in, the serialized response out."""
StreamBehaviour = Callable[[M, Caller, Write], Awaitable[None]]
"""A service method with many responses, which it writes one after the other."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SLACK_SECONDS: Final = 0.1


class Arrival(Protocol):
    """A call as its transport brings it."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None when it has none."""
        ...

    def request_ids(self) -> tuple[str, ...]:
        """What the caller gives as x-request-id, unchecked."""
        ...

    async def caller(self) -> Caller:
        """Who makes the call. Raises UsherError for a caller that proves nothing where a proof is needed."""
        ...


class RefusedCall(Exception):
    """How a call ended that is answered with an error."""

    def __init__(self, error: UsherError, request_id: str) -> None:
        super().__init__(error.reason.value)
        self.error = error
        self.request_id = request_id


Parse = Callable[[bytes], M]
"""Makes a checked request of bytes. Raises UsherError."""
Handle = Callable[[Arrival, bytes, Parse[M]], Awaitable[bytes]]
"""Runs one call and returns the serialized response. Raises RefusedCall."""
StreamHandle = Callable[[Arrival, bytes, Parse[M], Write], Awaitable[None]]
"""Runs one call and writes its responses. Raises RefusedCall, also after some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds for a call whose caller names no deadline, and at most."""

    default: float = 15.0
    longest: float = 60.0


class Calls:
    """All calls of all transports: what they have in common, and how many there are."""

    def __init__(
        self,
        clock: Clock,
        observer: Observer,
        default_deadline: float,
        authorizer: Authorizer,
        admission: Admission,
        *,
        max_deadline: float = 60.0,
        max_stream_deadline: float = 600.0,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._deadlines = Deadlines(default=default_deadline, longest=max_deadline)
        self._stream_deadlines = Deadlines(default=max_stream_deadline, longest=max_stream_deadline)
        self._authorizer = authorizer
        self._admission = admission
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

    def _enter(self, remaining: float, *, may_wait: bool) -> None:
        if self._refusing:
            raise UsherError(Reason.SHUTTING_DOWN, "the server is shutting down; retry on another")
        self._admission.enter(remaining, may_wait=may_wait)
        self._idle.clear()

    def _leave(self) -> None:
        self._admission.leave()
        if self._admission.inside == 0:
            self._idle.set()

    def around(self, service: str, method: str, behaviour: Behaviour[M]) -> Handle[M]:
        """A service method with all that happens around its calls."""
        return self._around(service, method, behaviour, self._deadlines)

    def around_stream(self, service: str, method: str, behaviour: StreamBehaviour[M]) -> StreamHandle[M]:
        """The same for a service method with many responses."""

        async def write_all(request: M, caller: Caller, write: Write) -> bytes:
            await behaviour(request, caller, write)
            return b""

        handle = self._around(service, method, write_all, self._stream_deadlines)

        async def handle_stream(arrival: Arrival, data: bytes, parse: Parse[M], write: Write) -> None:
            await handle(arrival, data, parse, write)

        return handle_stream

    def _around(
        self,
        service: str,
        method: str,
        behaviour: Callable[[M, Caller, *Rest], Awaitable[bytes]],
        deadlines: Deadlines,
    ) -> Callable[[Arrival, bytes, Parse[M], *Rest], Awaitable[bytes]]:
        access = ACCESS[f"{service}/{method}"]
        # An operator must get through when nobody else does.
        may_wait = access.listener is Listener.ADMIN
        clock, observer, admit = self._clock, self._observer, self._authorizer.admit

        async def handle(arrival: Arrival, data: bytes, parse: Parse[M], *rest: *Rest) -> bytes:
            started = clock.monotonic()
            request_id = _request_id(arrival)
            remaining = _remaining(arrival, deadlines)
            caller: Caller | None = None
            code, failed_with = "OK", None

            async def answer() -> bytes:
                nonlocal caller
                # Who may not call the method learns nothing about the request (AIP-211).
                caller = await arrival.caller()
                check_needs(access, caller)
                admit(caller, method)
                return await behaviour(parse(data), caller, *rest)

            try:
                self._enter(remaining, may_wait=may_wait)
                try:
                    set_deadline(started + remaining)
                    return await within(remaining, answer())
                finally:
                    self._leave()
            except UsherError as error:
                failed_with = error
            except asyncio.CancelledError:
                # A transport cancels the call as well when its deadline passes, and sometimes comes first.
                code, failed_with = "CANCELLED", _deadline_exceeded() if _is_past(arrival) else None
                raise
            except OutOfTime:
                failed_with = _deadline_exceeded()
            except Exception as error:
                # A fault of ours: the caller learns that, the log learns the rest.
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
            raise RefusedCall(failed_with, request_id)

        return handle


def _remaining(arrival: Arrival, deadlines: Deadlines) -> float:
    """Seconds until the caller's deadline, which the server caps; its default when there is none."""
    remaining = arrival.time_remaining()
    if remaining is None:
        return deadlines.default
    return min(max(0.0, remaining), deadlines.longest)


def _is_past(arrival: Arrival) -> bool:
    """Whether the caller's deadline has passed, or is about to: both sides count from different moments."""
    remaining = arrival.time_remaining()
    return remaining is not None and remaining < _SLACK_SECONDS


def _deadline_exceeded() -> UsherError:
    return UsherError(
        Reason.DEADLINE_EXCEEDED,
        "the deadline passed before the call was done; a statement was cancelled unless it had already "
        "committed: look before you repeat a write",
    )


def _request_id(arrival: Arrival) -> str:
    """The caller's x-request-id when it is a plain one, else a new id: hostile text never reaches a log."""
    for value in arrival.request_ids():
        if _REQUEST_ID.match(value):
            return value
    return os.urandom(16).hex()
