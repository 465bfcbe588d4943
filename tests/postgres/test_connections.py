"""Connections on a real server: which one is lent, which one ends, and that none is lost or left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.postgres.connections import IDLE_SECONDS, LIFE_SECONDS, Connections
from tests.fakes import FakeClock
from tests.postgres.scoped import LOGIN, PATIENCE, Place, connected, running_pool, until

NONE_LEFT = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'connections'"


class There:
    """Connections whose opening is counted, and can be made to fail."""

    def __init__(self, dsn: str, least: int = 0) -> None:
        self.clock = FakeClock()
        self.opened = 0
        self.failure: Exception | None = None
        self._dsn = dsn
        self.all = Connections(self._open, least, self.clock)

    async def give(self, connection: asyncpg.Connection[Any]) -> None:
        """As the pool."""
        if not self.all.keep(connection):
            await self.all.retire(connection)

    async def _open(self) -> asyncpg.Connection[Any]:
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        return await asyncpg.connect(self._dsn, server_settings={"application_name": "connections"})


@pytest.fixture
async def there(place: Place) -> AsyncIterator[Callable[..., There]]:
    made: list[There] = []

    def make(least: int = 0) -> There:
        made.append(There(place.admin, least))
        return made[-1]

    yield make
    for each in made:
        async with asyncio.timeout(PATIENCE):
            each.all._none_lent.set()  # a test that failed may have kept some
            await each.all.close()
    async with connected(place.admin) as admin:
        await until(admin, NONE_LEFT)


async def test_the_one_used_last_is_lent_next(there: Callable[..., There]) -> None:
    one = there()
    first, second = await one.all.take(), await one.all.take()
    assert (one.all.size, one.all.lent) == (2, 2)
    await one.give(first)
    await one.give(second)
    assert (one.all.size, one.all.lent) == (2, 0)
    assert await one.all.take() is second
    assert one.opened == 2
    await one.give(second)


async def test_what_nobody_needs_is_closed_but_for_the_least_number(there: Callable[..., There]) -> None:
    one = there(1)
    taken = [await one.all.take() for _ in range(3)]
    for connection in taken[:2]:
        await one.give(connection)
    await one.clock.advance(IDLE_SECONDS - 1)
    await one.all.tidy()
    assert one.all.size == 3
    await one.give(taken[2])
    await one.clock.advance(1)
    await one.all.tidy()
    assert [connection.is_closed() for connection in taken] == [True, True, False]
    await one.clock.advance(IDLE_SECONDS)
    await one.all.tidy()
    assert (one.all.size, one.all.missing) == (1, 0)


async def test_a_connection_does_not_live_for_ever(there: Callable[..., There]) -> None:
    one = there()
    first = await one.all.take()
    await one.give(first)
    await one.clock.advance(LIFE_SECONDS * 0.79)
    assert await one.all.take() is first
    await one.give(first)
    await one.clock.advance(LIFE_SECONDS * 0.21)
    again = await one.all.take()
    await one.give(again)  # it is old enough to end now
    assert first.is_closed()
    assert (one.all.size, one.all.lent) == (0, 0)


async def test_the_least_number_does_not_live_for_ever_either(there: Callable[..., There]) -> None:
    one = there(1)
    first = await one.all.take()
    await one.give(first)
    await one.clock.advance(LIFE_SECONDS)
    await one.all.tidy()
    assert first.is_closed()
    assert one.all.missing == 1


async def test_tidying_meets_what_is_lent_and_lost_meanwhile(there: Callable[..., There]) -> None:
    one = there()
    taken = [await one.all.take() for _ in range(2)]
    for connection in taken:
        await one.give(connection)
    await one.clock.advance(IDLE_SECONDS)
    tidying = asyncio.create_task(one.all.tidy())
    await asyncio.sleep(0)  # it closes the first one
    lent = await one.all.take()
    assert lent is taken[1]
    one.all.drop(lent)
    async with asyncio.timeout(PATIENCE):
        await tidying
    assert (one.all.size, one.all.lent) == (0, 0)


async def test_what_has_ended_by_itself_is_not_lent(there: Callable[..., There]) -> None:
    one = there()
    first, second = await one.all.take(), await one.all.take()
    await one.give(first)
    first.terminate()
    await one.all.tidy()
    assert one.all.size == 1
    await one.give(second)
    second.terminate()
    third = await one.all.take()
    assert not third.is_closed()
    third.terminate()
    await one.give(third)
    assert one.all.size == 0


async def test_after_a_renewal_none_from_before_is_lent(there: Callable[..., There]) -> None:
    one = there()
    out, idle = await one.all.take(), await one.all.take()
    await one.give(idle)
    await one.all.renew()
    assert idle.is_closed()
    assert not out.is_closed()
    await one.give(out)
    assert out.is_closed()
    fresh = await one.all.take()
    assert fresh not in (out, idle)
    await one.give(fresh)
    assert one.all.size == 1


async def test_one_that_was_being_opened_during_a_renewal_is_old(there: Callable[..., There]) -> None:
    one = there()
    opening = asyncio.create_task(one.all.take())
    await asyncio.sleep(0)
    await one.all.renew()
    connection = await opening
    await one.give(connection)
    assert connection.is_closed()


async def test_a_failure_to_open_leaves_nothing(there: Callable[..., There]) -> None:
    one = there(2)
    one.failure = OSError("away")
    with pytest.raises(OSError, match="away"):
        await one.all.take()
    assert (one.all.size, one.all.lent, one.all.missing) == (0, 0, 2)
    async with asyncio.timeout(PATIENCE):
        await one.all.close()  # it waits for nobody


async def test_closing_waits_for_what_is_lent_and_drops_it_when_cut_short(
    there: Callable[..., There],
) -> None:
    one = there()
    kept, given = await one.all.take(), await one.all.take()
    closing = asyncio.create_task(one.all.close())
    await asyncio.sleep(0)  # it has begun
    await one.give(given)
    assert given.is_closed()
    assert not closing.done()
    with pytest.raises(asyncpg.InterfaceError, match="closing"):
        await one.all.take()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert kept.is_closed()
    assert one.all.size == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["take", "give", "drop", "end", "wait", "renew", "tidy"]), max_size=12))
async def test_the_counts_are_right_whatever_happens(place: Place, steps: list[str]) -> None:
    one = There(place.admin, 1)
    out: list[asyncpg.Connection[Any]] = []
    for step in steps:
        if step == "take" and len(out) < 3:
            out.append(await one.all.take())
            assert not out[-1].is_closed()
        elif step == "give" and out:
            await one.give(out.pop(0))
        elif step == "drop" and out:
            one.all.drop(out.pop(0))
        elif step == "end" and out:
            out[0].terminate()
        elif step == "wait":
            await one.clock.advance(IDLE_SECONDS)
        elif step == "renew":
            await one.all.renew()
        elif step == "tidy":
            await one.all.tidy()
        assert one.all.lent == len(out)
    for connection in out:
        await one.give(connection)
    async with asyncio.timeout(PATIENCE):
        await one.all.close()
    assert (one.all.size, one.all.lent) == (0, 0)


async def test_the_pool_opens_the_least_number_again(place: Place) -> None:
    clock = FakeClock()
    open_now = (
        "SELECT count(*) = $2 FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()"
    )
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
    async with (
        connected(place.admin) as admin,
        running_pool(place.login, clock=clock, min_size=3, max_size=5) as pool,
    ):
        await until(admin, open_now, LOGIN, 3)
        await admin.execute(ended.replace("$1", f"'{LOGIN}'"))
        await until(admin, open_now, LOGIN, 0)
        async with asyncio.timeout(PATIENCE):
            # A look may still meet one whose end is not known here yet.
            while not await admin.fetchval(open_now, LOGIN, 3):
                await clock.advance(5)
        assert pool.state.size == 3
