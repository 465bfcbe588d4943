"""Time as a parameter: the only place where the wall clock is read."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC (the NumericDate of RFC 7519 section 2, with fractions)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; for measuring durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`; at once when not positive."""
        ...


async def woken_or_later(clock: Clock, woken: asyncio.Event, seconds: float) -> None:
    """Returns when `woken` is set, after `seconds` at the latest. It does not clear it."""
    set_ = asyncio.ensure_future(woken.wait())
    later = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({set_, later}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        set_.cancel()
        later.cancel()


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
