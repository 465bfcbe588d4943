"""How many round trips a scoped statement waits for, counted on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.queries import Statement
from sidecar.core.transactions import TransactionBackend
from sidecar.postgres import installer
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.exchange import READY, Exchange
from sidecar.postgres.pool import Pool
from sidecar.postgres.sessions import Pooling
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.flights import Flights, counted
from tests.postgres.scoped import (
    ALICE,
    SHARED,
    Place,
    connected,
    key_of,
    query,
    refusal,
    rows,
    running_pool,
    set_up,
    statement,
    transact,
)

READ = "select id, name from users"
WRITE = "insert into notes values (1, null, 'x')"


class Counted:
    """A backend on one connection, and what a statement waits for there."""

    def __init__(self, backend: TransactionBackend, pool: Pool, flights: Flights) -> None:
        self.backend = backend
        self._pool = pool
        self._flights = flights

    async def awaited(self, sql: str, **options: bool) -> int:
        """Round trips before the answer."""
        before = self._flights.count
        await query(self.backend, ALICE, sql, **options)
        seen = self._flights.count - before
        await self.settled()
        return seen

    async def awaited_together(self, *asked: Statement | str) -> int:
        """The same of a transaction."""
        before = self._flights.count
        await transact(self.backend, ALICE, *asked)
        seen = self._flights.count - before
        await self.settled()
        return seen

    async def settled(self) -> int:
        """Waits until the connection is clean again; returns the count."""
        await asyncio.gather(*self._pool._returning)
        return self._flights.count


@pytest.fixture
async def here(place: Place) -> AsyncIterator[Counted]:
    async with measured(place) as counted_backend:
        yield counted_backend


@asynccontextmanager
async def measured(place: Place) -> AsyncIterator[Counted]:
    async with counted(place.login) as (address, flights), running_pool(address, max_size=1) as pool:
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
        counted_backend = Counted(backend, pool, flights)
        await counted_backend.awaited("select 1")  # from here on the session has a number
        yield counted_backend


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_read_that_is_known_waits_for_one(here: Counted, read_only: bool) -> None:
    await here.awaited(READ, read_only=read_only)
    assert [await here.awaited(READ, read_only=read_only) for _ in range(3)] == [1, 1, 1]


async def test_every_version_answers_as_usual(
    fresh_database_each_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sidecar knows beforehand is compared; else each message of it is read, which takes longer."""
    place = await set_up(fresh_database_each_version)
    read: list[int] = []
    take = Exchange.take

    def watched(self: Exchange, kind: int, body: bytes) -> None:
        read.append(kind)
        take(self, kind, body)

    async with measured(place) as here:
        for options in ({"read_only": True}, {"read_only": False}):
            await here.awaited(READ, **options)
            with monkeypatch.context() as patched:
                patched.setattr(Exchange, "take", watched)
                await here.awaited(READ, **options)
    assert set(read) <= {READY}


async def test_before_step_4_it_waits_for_two(fresh_database_each_version: str) -> None:
    """And while sidecars run, the step may come and go."""
    place = await set_up(fresh_database_each_version)
    (last,) = [script for script in installer.scripts() if script.version == 4]
    async with measured(place) as here, connected(place.admin) as admin:
        assert [await here.awaited(READ) for _ in range(2)] == [2, 1]
        await admin.execute(last.down)
        # One that was refused for its tag, the rollback, and the two that are right.
        assert [await here.awaited(READ) for _ in range(3)] == [4, 2, 2]
        await admin.execute(last.up)
        assert [await here.awaited(READ) for _ in range(3)] == [2, 1, 1]
        # Installed anew: there is another sequence.
        await admin.execute(last.down)
        await admin.execute(last.up)
        assert [await here.awaited(READ) for _ in range(2)] == [4, 1]
        await admin.execute("DELETE FROM usher.claim_key")
        refused = await refusal(here.backend, ALICE, READ)
        assert (refused.reason, "claim_key" in refused.message) == (Reason.DATABASE_NOT_INSTALLED, True)


async def test_its_end_and_the_scrub_are_one_more_that_nobody_waits_for(here: Counted) -> None:
    await here.awaited(READ)
    before = await here.settled()
    waited = await here.awaited(READ)
    assert await here.settled() - before == waited + 1


async def test_a_new_read_waits_for_one_more(here: Counted) -> None:
    assert await here.awaited("select 1 as never_sent_before") == 2


async def test_a_write_waits_for_its_commit(here: Counted, admin: asyncpg.Connection) -> None:
    try:
        for trips in (3, 2):
            assert await here.awaited(WRITE) == trips
            # It is there when the answer is.
            assert await admin.fetchval("DELETE FROM notes RETURNING body") == "x"
    finally:
        await admin.execute("DELETE FROM notes")


async def test_a_statement_that_turns_out_to_write_waits_for_its_commit(
    here: Counted, admin: asyncpg.Connection
) -> None:
    sql = "with gone as (delete from notes returning 1) select count(*) from gone"
    await here.awaited(sql)
    assert await here.awaited(sql) == 1  # there is none
    await admin.execute("INSERT INTO notes VALUES (1, null, 'x')")
    assert await here.awaited(sql) == 2
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_large_result_is_fetched_in_portions(here: Counted) -> None:
    sql = "select generate_series(1, 500)"
    await here.awaited(sql, read_only=True)
    assert await here.awaited(sql, read_only=True) == 2
    # That a later portion wrote nothing is not known.
    await here.awaited(sql)
    assert await here.awaited(sql) == 3


async def test_a_transaction_of_known_statements_waits_for_each_once(
    here: Counted, admin: asyncpg.Connection
) -> None:
    read = statement(READ, read_only=True)
    for count in (1, 2, 5):
        await here.awaited_together(*[read] * count)
        assert await here.awaited_together(*[read] * count) == count
        assert await here.awaited_together(*[READ] * count) == count  # it has turned out to write nothing
    try:
        for trips in (5, 3):  # both were new, and the commit
            assert await here.awaited_together("select 1 as other", WRITE) == trips
            assert await admin.fetchval("DELETE FROM notes RETURNING body") == "x"
    finally:
        await admin.execute("DELETE FROM notes")


async def test_its_entry_and_its_end_are_on_the_way_of_others(here: Counted) -> None:
    await here.awaited_together(READ, READ)
    before = await here.settled()
    waited = await here.awaited_together(READ, READ)
    assert await here.settled() - before == waited + 1


async def test_by_way_of_a_pooler_the_scrub_comes_first(place: Place) -> None:
    async with (
        counted(place.login) as (address, flights),
        running_pool(address, max_size=1, pooling=Pooling.TRANSACTION) as pool,
    ):
        key = CurrentKey(key_of(place.admin))
        backend = SignedClaimsBackend(pool, SHARED, key, Pooling.TRANSACTION)
        here = Counted(backend, pool, flights)
        await here.awaited(READ)
        assert await here.awaited(READ) == 3
        assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


def test_on_uvloop_it_is_the_same(place: Place) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> list[int]:
        async with measured(place) as here:
            return [await here.awaited(READ) for _ in range(3)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [2, 1, 1]
