"""Admission to the pool: a bounded line, and no waiting for what cannot be had in time.

Under overload a request that waits and fails at its deadline has cost as much as one that was served, and
held up those behind it. So it is refused at once when the line is full, or so long that its turn will come
too late.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.deadline import remaining
from sidecar.core.errors import Reason, UsherError

_WEIGHT: Final = 0.1
"""Of the newest in the average pace."""


class Slots:
    """One for each connection: whoever has a slot finds a connection free, or may open one."""

    def __init__(self, count: int, most_waiting: int, longest_wait: float, clock: Clock) -> None:
        """`longest_wait` in seconds."""
        self._free = asyncio.Semaphore(count)
        self._count = count
        self._most_waiting = most_waiting
        self._longest_wait = longest_wait
        self._clock = clock
        self._pace: float | None = None
        """Seconds from one slot that comes free to the next while none is, on average."""
        self._since = 0.0
        """When the last one came free, or was taken."""
        self.waiting = 0
        """How many stand in line."""

    def locked(self) -> bool:
        """Whether none is free."""
        return self._free.locked()

    async def take(self) -> None:
        """Waits for a slot.

        Raises UsherError: POOL_EXHAUSTED, at once when the deadline of the call cannot be met.
        """
        if not self._free.locked():
            await self._free.acquire()  # at once
            self._since = self._clock.monotonic()
            return
        self._check_line()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._free.acquire()
        except TimeoutError:
            raise self._refusal("") from None
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Gives a slot free."""
        if self._free.locked():
            now = self._clock.monotonic()
            if self._pace is None:
                self._pace = now - self._since
            self._pace += (now - self._since - self._pace) * _WEIGHT
            self._since = now
        self._free.release()

    def _check_line(self) -> None:
        if self.waiting >= self._most_waiting:
            raise self._refusal(f" and {self.waiting} calls wait for one")
        left = remaining(self._clock)
        if left is not None and (self._pace or 0.0) * (self.waiting + 1) > left:
            raise self._refusal(" and none will come free before the deadline")

    def _refusal(self, why: str) -> UsherError:
        return UsherError(
            Reason.POOL_EXHAUSTED, f"all {self._count} database connections are busy{why}; retry later"
        )
