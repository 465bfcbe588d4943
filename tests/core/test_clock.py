"""Waiting for an event or a time, whichever is first."""

from __future__ import annotations

import asyncio

from sidecar.core.clock import woken_or_later
from tests.fakes import FakeClock


async def test_it_returns_when_woken_and_leaves_the_event_set() -> None:
    woken = asyncio.Event()
    waiting = asyncio.ensure_future(woken_or_later(FakeClock(), woken, 1.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    woken.set()
    await waiting
    assert woken.is_set()


async def test_it_returns_at_the_latest_after_the_time() -> None:
    clock = FakeClock()
    waiting = asyncio.ensure_future(woken_or_later(clock, asyncio.Event(), 1.0))
    await clock.advance(0.5)
    assert not waiting.done()
    await clock.advance(0.6)
    await waiting
