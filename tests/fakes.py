"""Fakes with behaviour: a clock that moves when told to, and an observer that remembers."""

from __future__ import annotations

import asyncio
import heapq
from typing import TypeVar

from sidecar.core.events import Event

E = TypeVar("E")

START = 1_900_000_000.0


class FakeClock:
    """A clock that stands still until `advance`. Sleepers wake in the order of their time."""

    def __init__(self, now: float = START) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def set_back(self, seconds: float) -> None:
        """The wall clock is corrected; the monotonic one is not."""
        self._now -= seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Moves on, stopping at each sleeper's time so that it sees the time it asked for."""
        target = self._monotonic + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            at, _, woken = heapq.heappop(self._sleepers)
            self._move_to(at)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self._move_to(target)
        await self.settle()

    async def settle(self) -> None:
        """Lets every task that can go on do so."""
        for _ in range(20):
            await asyncio.sleep(0)

    def _move_to(self, monotonic: float) -> None:
        self._now += monotonic - self._monotonic
        self._monotonic = monotonic


class Recorder:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
