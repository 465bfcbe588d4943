"""A call as HTTP brings it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sidecar.connect.messages import Request
from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.errors import invalid_field
from sidecar.services.calls import Parse

Identify = Callable[[Request], Awaitable[Caller]]
"""Who makes a call. Raises UsherError for a caller that proves nothing where a proof is needed."""


class Arrival:
    """See sidecar.services.calls.Arrival."""

    __slots__ = ("_clock", "_deadline", "_identify", "_request")

    def __init__(self, request: Request, identify: Identify, clock: Clock, timeout: float | None) -> None:
        self._request = request
        self._identify = identify
        self._clock = clock
        self._deadline = None if timeout is None else clock.monotonic() + timeout

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None when it has none."""
        return None if self._deadline is None else self._deadline - self._clock.monotonic()

    def request_ids(self) -> tuple[str, ...]:
        """What the caller gives as x-request-id, unchecked."""
        return self._request.every(b"x-request-id")

    async def caller(self) -> Caller:
        """Who makes the call. Raises UsherError."""
        return await self._identify(self._request)


def refuse_size(limit: int) -> Parse[Any]:
    """What refuses a request of more bytes than the limit."""

    def refuse(data: bytes) -> Any:
        raise invalid_field("request", f"has more bytes than the limit, which is {limit}; send less")

    return refuse
