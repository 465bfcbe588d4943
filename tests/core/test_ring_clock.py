"""The clock of a ring: one for all replicas, whatever their own say."""

from __future__ import annotations

import pytest

from sidecar.core.ring_clock import MAX_SKEW_SECONDS, RingClock
from tests.fakes import START, FakeClock


async def test_before_a_store_has_spoken_it_is_the_clock_it_is_made_of() -> None:
    own = FakeClock()
    clock = RingClock(own)
    await own.advance(5)
    own.set_back(100)
    assert clock.now() == clock.wall() == START - 95
    assert (clock.skew, clock.trouble()) == (0, None)


async def test_it_goes_on_from_what_the_store_said_whatever_happens_to_its_own() -> None:
    own = FakeClock()
    clock = RingClock(own)
    clock.hear(START + 20, own.monotonic())
    await own.advance(10)
    own.set_back(3)
    assert clock.now() == START + 30
    assert clock.skew == -23
    clock.hear(START + 40, own.monotonic())
    assert clock.now() == START + 40


async def test_an_answer_that_took_long_leaves_it_behind_and_never_ahead() -> None:
    own = FakeClock()
    clock = RingClock(own)
    said = START
    await own.advance(4)  # on its way
    clock.hear(said, own.monotonic())
    assert clock.now() == START


@pytest.mark.parametrize("sign", [1, -1])
def test_beyond_the_bound_the_time_is_not_trusted(sign: int) -> None:
    own = FakeClock()
    clock = RingClock(own)
    clock.hear(START + sign * MAX_SKEW_SECONDS, own.monotonic())
    assert clock.trouble() is None
    clock.hear(START + sign * (MAX_SKEW_SECONDS + 0.1), own.monotonic())
    assert "60 s" in (clock.trouble() or "")


async def test_a_machine_that_slept_knows_it() -> None:
    """A machine's monotonic clock stands still in its sleep, the other one is put right afterwards."""
    own = FakeClock()
    clock = RingClock(own)
    clock.hear(START, own.monotonic())
    own.set_back(-3600)
    assert clock.trouble() is not None
