"""The deadline of the present task."""

from __future__ import annotations

import asyncio

from sidecar.core.deadline import remaining, set_deadline
from tests.fakes import FakeClock


async def test_it_holds_for_the_task_and_those_it_starts() -> None:
    clock = FakeClock()

    async def served() -> tuple[float | None, float | None]:
        set_deadline(clock.monotonic() + 2)
        return remaining(clock), await asyncio.create_task(started())

    async def started() -> float | None:
        return remaining(clock)

    assert await asyncio.create_task(served()) == (2, 2)
    assert remaining(clock) is None
