"""Portions: how many rows each has, and what of them is on this side of Postgres while a caller waits."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import ConnectionDiscarded
from sidecar.core.streams import CHUNK_BYTES
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.driver import FIRST_ROWS, Portion
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.streaming import WIRE_BYTES, Pace
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    LOGIN,
    SHARED,
    Place,
    Watcher,
    key_of,
    query,
    rows,
    running_pool,
)
from tests.postgres.streams import Held, Taken, cancelled, stream

LATER = "repeat('x', case when n < 2000 then 1 else 1000000 end)"
GROWING = f"select n, {LATER} from generate_series(1, 2100) n"


def portion(rows: int, wire_bytes: int) -> Portion:
    return Portion(records=[()] * rows, wire_bytes=wire_bytes, completed=False, command="")  # type: ignore[list-item]


def test_the_first_portion_is_small() -> None:
    assert Pace().rows == FIRST_ROWS


@pytest.mark.parametrize(
    ("size", "wire_bytes", "expected"),
    [
        (100 * 1024, 100 * 2048, CHUNK_BYTES // 1024),
        (100 * CHUNK_BYTES * 3, 100, 1),
        # Narrow numbers take more on the wire than in a message.
        (100, 100 * 1024, WIRE_BYTES // 1024),
        (0, 0, CHUNK_BYTES),
    ],
)
def test_the_next_one_is_by_the_size_of_this(size: int, wire_bytes: int, expected: int) -> None:
    pace = Pace()
    pace.learn(portion(100, wire_bytes), size)
    assert pace.rows == expected


@given(rows=st.integers(0, 10**6), wire=st.integers(0, 2**40), size=st.integers(0, 2**40))
def test_a_portion_has_a_row_at_least_and_what_postgres_can_count(rows: int, wire: int, size: int) -> None:
    pace = Pace()
    pace.learn(portion(min(rows, 1000), wire), size)
    assert 1 <= pace.rows <= 2**31 - 1


@pytest.mark.parametrize("row_bytes", [50, 5000])
async def test_chunks_come_near_their_size(backend: SignedClaimsBackend, row_bytes: int) -> None:
    sql = f"select repeat('x', {row_bytes}) from generate_series(1, {12 * CHUNK_BYTES // row_bytes})"
    taken = await stream(backend, ALICE, sql, into=Taken(row_bytes=row_bytes))
    sizes = [chunk.row_count * row_bytes for chunk in taken.chunks]
    assert all(64 * 1024 <= size <= 256 * 1024 for size in sizes[2:-1])
    assert len(sizes) >= 5


async def test_nothing_is_taken_off_postgres_but_the_portion_behind(
    place: Place, admin: asyncpg.Connection
) -> None:
    """A function of the statement counts the rows that Postgres has made."""
    made = "pg_advisory_lock_shared(n)"
    async with running_pool(place.login, max_size=2) as pool:
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
        held = Held(chunks=2, row_bytes=1000)
        sql = f"select n, {made} from generate_series(1, 1000000) n"
        task = asyncio.create_task(stream(backend, ALICE, sql, into=held))
        await held.holds.wait()
        count = "select count(*) from pg_locks where locktype = 'advisory' and granted"
        before = -1
        while (found := rows(await query(backend, CAROL, count))[0][0]) != before:
            before = found
        taken = sum(chunk.row_count for chunk in held.chunks)
        assert taken < before <= taken + 2 * CHUNK_BYTES // 1000
        await cancelled(task)


@pytest.mark.parametrize("chunks", [3, 4])
async def test_a_connection_with_rows_on_their_way_is_not_lent_again(place: Place, chunks: int) -> None:
    watcher = Watcher()
    async with running_pool(place.login, max_size=1, observer=watcher) as pool:
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
        held = Held(chunks=chunks)
        task = asyncio.create_task(stream(backend, ALICE, GROWING, into=held))
        await held.holds.wait()
        await cancelled(task)
        assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    assert [event.cause for event in watcher.of(ConnectionDiscarded)] == ["CutError"]


async def test_one_that_was_read_to_its_end_is_lent_again(place: Place) -> None:
    watcher = Watcher()
    async with running_pool(place.login, max_size=1, observer=watcher) as pool:
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
        assert len((await stream(backend, ALICE, GROWING)).rows) == 2100
        assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    assert watcher.of(ConnectionDiscarded) == []


async def test_the_end_of_a_serializable_transaction_is_waited_for(
    place: Place, admin: asyncpg.Connection
) -> None:
    isolation = f"ALTER ROLE {LOGIN} {{}} default_transaction_isolation"
    await admin.execute(isolation.format("SET") + " = 'serializable'")
    try:
        async with running_pool(place.login, max_size=1) as pool:
            backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
            taken = await stream(backend, ALICE, "select current_setting('transaction_isolation')")
            assert taken.rows == [("serializable",)]
            assert taken.end is not None
    finally:
        await admin.execute(isolation.format("RESET"))
