"""Who waits for a connection, and who is refused at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from sidecar.core.deadline import set_deadline
from sidecar.core.errors import Reason, UsherError
from sidecar.postgres.slots import Slots
from tests.fakes import FakeClock

LONG = 60.0


async def asking(slots: Slots, clock: FakeClock, seconds: float) -> None:
    """A call with a deadline."""
    set_deadline(clock.monotonic() + seconds)
    await slots.take()


async def refused(slots: Slots, clock: FakeClock, seconds: float) -> str:
    """Why a call is refused, and that it was told within 10 ms."""
    started = time.perf_counter()
    with pytest.raises(UsherError) as error:
        await asyncio.create_task(asking(slots, clock, seconds))
    assert time.perf_counter() - started < 0.01
    assert error.value.reason is Reason.POOL_EXHAUSTED
    return error.value.message


async def busy(clock: FakeClock, *, pace: float, most_waiting: int = 10) -> Slots:
    """Two slots, both taken; each is held so long that one comes free every `pace` seconds."""
    slots = Slots(2, most_waiting, LONG, clock)
    await slots.take()
    await slots.take()
    for _ in range(5):
        await clock.advance(pace)
        slots.release()
        await slots.take()
    return slots


async def test_a_call_whose_turn_comes_too_late_does_not_wait() -> None:
    clock = FakeClock()
    slots = await busy(clock, pace=0.5)
    assert "deadline" in await refused(slots, clock, 0.4)
    in_time = asyncio.create_task(asking(slots, clock, 0.6))
    await asyncio.sleep(0)
    assert slots.waiting == 1
    # There is one before it now.
    assert "deadline" in await refused(slots, clock, 0.6)
    slots.release()
    await in_time


async def test_a_line_has_an_end() -> None:
    clock = FakeClock()
    slots = await busy(clock, pace=0.001, most_waiting=3)
    waiting = [asyncio.create_task(asking(slots, clock, LONG)) for _ in range(3)]
    await asyncio.sleep(0)
    assert "3 calls wait" in await refused(slots, clock, LONG)
    for _ in waiting:
        slots.release()
    await asyncio.gather(*waiting)


async def test_who_has_no_deadline_waits_as_long_as_anybody() -> None:
    clock = FakeClock()
    slots = await busy(clock, pace=1000)
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.release()
    await waiting


async def test_where_one_is_free_nobody_is_refused() -> None:
    clock = FakeClock()
    slots = await busy(clock, pace=1000, most_waiting=0)
    slots.release()
    await asking(slots, clock, 0.001)


async def test_time_without_a_line_does_not_count() -> None:
    clock = FakeClock()
    slots = await busy(clock, pace=0.1)
    slots.release()
    await clock.advance(1000)
    await slots.take()
    await clock.advance(0.1)
    slots.release()
    await slots.take()
    assert "deadline" in await refused(slots, clock, 0.05)
    waiting = asyncio.create_task(asking(slots, clock, 0.2))
    await asyncio.sleep(0)
    assert slots.waiting == 1
    slots.release()
    await waiting


async def test_nobody_waits_longer_than_that() -> None:
    slots = Slots(1, 10, 0.001, FakeClock())
    await slots.take()
    with pytest.raises(UsherError, match="busy; retry"):
        await slots.take()
    slots.release()
    await slots.take()
