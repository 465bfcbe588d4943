"""A coroutine that is begun by hand goes on as if it had been awaited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.core.coroutines import go_on


async def begun(work: Any) -> Any:
    """The first step by hand, the rest awaited."""
    return await go_on(work, work.send(None))


async def test_its_result_and_all_that_it_waits_for() -> None:
    order: list[str] = []

    async def work() -> str:
        for step in ("one", "two"):
            order.append(step)
            await asyncio.sleep(0)
        return "done"

    started = work()
    waits_for = started.send(None)
    order.append("between")
    assert await go_on(started, waits_for) == "done"
    assert order == ["one", "between", "two"]


async def test_what_it_raises() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("of its own")

    with pytest.raises(KeyError, match="of its own"):
        await begun(fails())


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_cancellation_reaches_it(goes_on: bool) -> None:
    reached, waits = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        try:
            await waits.wait()
        except asyncio.CancelledError:
            reached.set()
            if not goes_on:
                raise
        return "done"

    task = asyncio.create_task(begun(work()))
    await asyncio.sleep(0)
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert reached.is_set()
    assert ended == "done" if goes_on else isinstance(ended, asyncio.CancelledError)


async def test_one_that_is_given_up_is_closed() -> None:
    closed: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    rest = begun(work())
    rest.send(None)
    rest.close()
    assert closed == [True]
