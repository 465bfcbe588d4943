"""The deadline of the present task."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.deadline import OutOfTime, remaining, set_deadline, within
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


async def test_work_that_never_waits_is_done_however_late_it_is() -> None:
    async def at_once() -> str:
        return "done"

    assert await within(0, at_once()) == "done"


async def test_work_that_waits_ends_in_time_or_not_at_all() -> None:
    woken = asyncio.Event()
    ended = []

    async def waits() -> str:
        try:
            await woken.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "done"

    with pytest.raises(OutOfTime):
        await within(0, waits())
    assert ended == ["cancelled"]
    asyncio.get_running_loop().call_soon(woken.set)
    assert await within(60, waits()) == "done"


async def test_what_work_raises_is_its_own() -> None:
    """A TimeoutError of something inside is no sign that the time of the whole is over."""

    async def fails(first: bool) -> None:
        if not first:
            await asyncio.sleep(0)
        raise TimeoutError("of a part")

    for first in (True, False):
        with pytest.raises(TimeoutError, match="of a part"):
            await within(60, fails(first))


async def test_work_that_waits_is_cancelled_with_its_task_and_may_clean_up() -> None:
    waiting = asyncio.Event()
    steps = []

    async def waits() -> str:
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            steps.append("cleaned up")
            raise
        return "never"

    async def whole() -> str:
        return await within(60, waits())

    task = asyncio.create_task(whole())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cleaned up"]


async def test_work_may_answer_although_its_wait_was_ended() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async def wrapped() -> str:
        return await within(60, stubborn())

    task = asyncio.create_task(wrapped())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "done all the same"
