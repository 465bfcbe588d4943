"""Levels of isolation are real: what transactions see of each other, and which of two that meet has to go."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.transactions import Isolation, TransactionBackend
from sidecar.core.values import ResultSet
from tests.backends.kinds import Stage
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    query,
    refused_transaction,
    rows,
    statement,
    transact,
    until,
)

COUNT = "select count(*) from notes"


def insert(number: int) -> str:
    return f"insert into notes values ({number}, null, 'x') returning id"


@pytest.mark.parametrize(("isolation", "seen"), [(level, level.value.lower()) for level in Isolation])
async def test_the_level_is_the_one_that_was_asked_for(
    backend: TransactionBackend, isolation: Isolation, seen: str
) -> None:
    for read_only in (True, False):
        asked = statement("select current_setting('transaction_isolation')", read_only=read_only)
        results = await transact(backend, ALICE, asked, asked, isolation=isolation)
        assert [rows(one) for one in results] == [[(seen,)], [(seen,)]]


class Pause:
    """Holds a transaction between two statements, by a lock that its second statement waits for."""

    LOCK = "select pg_advisory_xact_lock_shared(31)"

    def __init__(self, admin: asyncpg.Connection) -> None:
        self._admin = admin

    async def __aenter__(self) -> Pause:
        await self._admin.execute("SELECT pg_advisory_lock(31)")
        return self

    async def reached(self, count: int = 1) -> None:
        """Returns when so many transactions wait."""
        waiting = (
            "SELECT count(*) = $1 FROM pg_stat_activity"
            " WHERE wait_event = 'advisory' AND datname = current_database()"
        )
        await until(self._admin, waiting, count)

    async def __aexit__(self, *details: object) -> None:
        await self._admin.execute("SELECT pg_advisory_unlock(31)")


@pytest.mark.parametrize(
    ("isolation", "second"),
    [(Isolation.READ_COMMITTED, 1), (Isolation.REPEATABLE_READ, 0), (Isolation.SERIALIZABLE, 0)],
)
async def test_a_snapshot_is_kept_or_not(
    stage: Stage, notes: asyncpg.Connection, isolation: Isolation, second: int
) -> None:
    async with stage.open(connections=2) as backend:
        async with Pause(notes) as pause:
            reading = asyncio.create_task(
                transact(backend, ALICE, COUNT, Pause.LOCK, COUNT, isolation=isolation)
            )
            await pause.reached()
            await query(backend, CAROL, insert(1))
        first, _, last = await reading
    assert (rows(first), rows(last)) == ([(0,)], [(second,)])


async def test_a_lost_update_is_a_failure_that_may_be_tried_again(
    stage: Stage, notes: asyncpg.Connection
) -> None:
    await notes.execute("INSERT INTO notes VALUES (1, null, '0')")
    update = "update notes set body = body || 'x' where id = 1"
    async with stage.open(connections=2) as backend:
        async with Pause(notes) as pause:
            late = asyncio.create_task(
                refused_transaction(
                    backend, ALICE, COUNT, Pause.LOCK, update, isolation=Isolation.REPEATABLE_READ
                )
            )
            await pause.reached()
            await query(backend, CAROL, update)
        refused = await late
    assert (refused.reason, refused.retryable) == (Reason.SERIALIZATION_FAILURE, True)
    assert refused.metadata.get("statement_index", "2") == "2"


async def test_of_two_that_skew_each_other_one_may_be_tried_again(
    stage: Stage, notes: asyncpg.Connection
) -> None:
    """Each writes because the other has not: possible one after the other, never both."""
    skew = "insert into notes select $1::int, null, 'x' where (select count(*) from notes) = 0"

    async def one(backend: TransactionBackend, number: int) -> list[ResultSet] | UsherError:
        try:
            return await transact(
                backend,
                ALICE,
                COUNT,
                Pause.LOCK,
                statement(skew, number),
                isolation=Isolation.SERIALIZABLE,
            )
        except UsherError as error:
            return error

    async with stage.open(connections=2) as backend:
        async with Pause(notes) as pause:
            running = [asyncio.create_task(one(backend, number)) for number in (1, 2)]
            await pause.reached(2)
        ended = await asyncio.gather(*running)
        (refused,) = [end for end in ended if isinstance(end, UsherError)]
        assert (refused.reason, refused.retryable) == (Reason.SERIALIZATION_FAILURE, True)
        assert await notes.fetchval(COUNT) == 1
        # Tried again it finds the other's.
        assert rows((await transact(backend, ALICE, COUNT, isolation=Isolation.SERIALIZABLE))[0]) == [(1,)]


async def test_a_deadlock_may_be_tried_again(stage: Stage, notes: asyncpg.Connection) -> None:
    await notes.execute("INSERT INTO notes VALUES (1, null, ''), (2, null, '')")
    update = "update notes set body = body || 'x' where id = $1::int"

    async def one(backend: TransactionBackend, first: int, second: int) -> list[ResultSet] | UsherError:
        try:
            return await transact(
                backend, ALICE, statement(update, first), Pause.LOCK, statement(update, second)
            )
        except UsherError as error:
            return error

    async with stage.open(connections=2) as backend:
        async with Pause(notes) as pause:
            running = [asyncio.create_task(one(backend, *pair)) for pair in ((1, 2), (2, 1))]
            await pause.reached(2)
        ended = await asyncio.gather(*running)
    (refused,) = [end for end in ended if isinstance(end, UsherError)]
    assert (refused.reason, refused.retryable) == (Reason.DEADLOCK, True)
    assert await notes.fetchval("SELECT array_agg(body) FROM notes") == ["x", "x"]
