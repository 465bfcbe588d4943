"""Health: what stands, and that a watcher hears of every change."""

from __future__ import annotations

import asyncio

from sidecar.core.health import LOOK_SECONDS, Check, Health
from tests.fakes import FakeClock


async def test_checks_say_what_is_wrong() -> None:
    trouble: dict[str, str | None] = {"database": "not connected yet"}
    health = Health({"database": lambda: trouble["database"]}, FakeClock())
    assert health.checks() == (
        Check(name="running", ok=True, detail="ok"),
        Check(name="database", ok=False, detail="not connected yet"),
    )
    trouble["database"] = None
    assert all(check.ok for check in health.checks())
    health.stop()
    assert [check.ok for check in health.checks()] == [False, True]


async def test_a_watcher_is_told_at_first_when_woken_and_by_time_but_only_of_changes() -> None:
    clock = FakeClock()
    trouble: str | None = "away"
    told: list[bool] = []

    async def report(checks: tuple[Check, ...]) -> None:
        told.append(checks[-1].ok)

    health = Health({"database": lambda: trouble}, clock)
    watching = asyncio.create_task(health.watch(report))
    await clock.settle()
    assert told == [False]
    health.wake()
    await clock.settle()
    assert told == [False]
    trouble = None
    await clock.settle()
    assert told == [False]
    health.wake()
    await clock.settle()
    assert told == [False, True]
    trouble = "away again"
    await clock.advance(LOOK_SECONDS)
    assert told == [False, True, False]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
