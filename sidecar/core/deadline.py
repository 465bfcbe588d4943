"""When the call that is being served must be done, for whoever lets it wait, and what ends it then."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from sidecar.core.clock import Clock
from sidecar.core.coroutines import go_on

T = TypeVar("T")

_DEADLINE: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)


def set_deadline(moment: float) -> None:
    """The present task, and those it starts, must be done by then: a moment of the clock's monotonic()."""
    _DEADLINE.set(moment)


def remaining(clock: Clock) -> float | None:
    """Seconds until the present task must be done, negative when it is too late; None when nobody said."""
    moment = _DEADLINE.get()
    return None if moment is None else moment - clock.monotonic()


class OutOfTime(Exception):
    """What ran `within` a time was not done then, and has been cancelled."""


@types.coroutine
def within(seconds: float, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Awaits `work`, for so many seconds at most. Raises OutOfTime.

    Work that never waits needs no timer, and a timer costs more than many a call: it is only set when the
    work first waits.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    return (yield from _timed(seconds, go_on(work, waits_for)).__await__())


async def _timed(seconds: float, work: Generator[Any, Any, T]) -> T:
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await work  # type: ignore[misc, no-any-return]
    except TimeoutError:
        if timer.expired():
            raise OutOfTime from None
        raise
