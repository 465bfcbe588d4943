"""The private calls into asyncpg: some rows in one flight, and the rest counted without being sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from sidecar.postgres.codecs import TypedConnection, prepare
from sidecar.postgres.driver import Run, TooLargeError, execute_limited, run_to_end
from tests.postgres.scoped import connected

TABLE = "CREATE TEMP TABLE numbers (n int)"
INSERT = "INSERT INTO numbers SELECT generate_series(1, 10) RETURNING n"


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_dsn, connection_class=TypedConnection) as connection:
        await connection.execute(f"BEGIN; {TABLE}")
        yield connection
        await connection.execute("ROLLBACK")


async def run(connection: asyncpg.Connection, sql: str, limit: int, *arguments: object) -> Run:
    return await execute_limited(connection, await prepare(connection, sql), arguments, limit)


async def test_a_statement_below_the_limit_is_complete(connection: asyncpg.Connection) -> None:
    found = await run(connection, "SELECT * FROM generate_series(1, $1::int)", 5, 4)
    assert [record[0] for record in found.records] == [1, 2, 3, 4]
    assert (found.completed, found.command, found.count) == (True, "SELECT", 4)


async def test_the_limit_cuts_a_read_in_postgres(connection: asyncpg.Connection) -> None:
    # Were it run to its end, this would never come back.
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n % 9 + 1 FROM t) SELECT n FROM t"
    found = await run(connection, endless, 5)
    assert [record[0] for record in found.records] == [1, 2, 3, 4, 5]
    assert (found.completed, found.command, found.count) == (False, "", None)


@pytest.mark.parametrize(
    ("sql", "command", "count"),
    [
        (INSERT.removesuffix(" RETURNING n"), "INSERT 0", 10),
        ("UPDATE numbers SET n = 0", "UPDATE", 0),
        ("DELETE FROM numbers", "DELETE", 0),
        ("SELECT 1 AS one INTO TEMP ones", "SELECT", 1),
    ],
)
async def test_a_statement_without_rows_has_its_tag(
    connection: asyncpg.Connection, sql: str, command: str, count: int
) -> None:
    found = await run(connection, sql, 1)
    assert (found.records, found.completed, found.command, found.count) == ([], True, command, count)


async def test_a_write_that_the_limit_cut_is_counted_in_full(connection: asyncpg.Connection) -> None:
    statement = await prepare(connection, INSERT)
    cut = await execute_limited(connection, statement, (), 3)
    assert not cut.completed
    whole = await run_to_end(connection, statement, cut)
    assert [record["n"] for record in whole.records] == [1, 2, 3]
    assert (whole.completed, whole.command, whole.count) == (True, "INSERT 0", 10)
    assert await connection.fetchval("SELECT count(*) FROM numbers") == 10


async def test_other_statements_may_run_before_the_end(connection: asyncpg.Connection) -> None:
    statement = await prepare(connection, f"WITH written AS ({INSERT}) SELECT n FROM written")
    cut = await execute_limited(connection, statement, (), 9)
    assert await connection.fetchval("SELECT 1") == 1
    whole = await run_to_end(connection, statement, cut)
    assert (whole.command, whole.count) == ("SELECT", 10)


async def test_errors_are_asyncpgs_own(connection: asyncpg.Connection) -> None:
    statement = await prepare(connection, "SELECT 1 / $1::int")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await execute_limited(connection, statement, (0,), 1)


MIB = 1024**2


@pytest.mark.parametrize("small", [0, 128, 200])
async def test_rows_that_could_never_fit_are_not_read(postgres_dsn: str, small: int) -> None:
    """Wherever they begin: in the first portion, or in one that small rows made long."""
    value = f"CASE WHEN n <= {small} THEN 'x' ELSE repeat('x', {4 * MIB}) END"
    sql = f"SELECT {value} FROM generate_series(1, 9999) n"
    async with connected(postgres_dsn, connection_class=TypedConnection) as connection:
        await connection.execute("BEGIN")
        prepared = await prepare(connection, sql)
        # Without the memory for 40 GB, it would end otherwise.
        with pytest.raises(TooLargeError):
            await execute_limited(connection, prepared, (), 10_000, MIB)
        assert connection.is_closed()


async def test_what_is_a_little_too_large_costs_no_connection(connection: asyncpg.Connection) -> None:
    prepared = await prepare(connection, "SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    with pytest.raises(TooLargeError):
        await execute_limited(connection, prepared, (), 10_000, 1_000_000)
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("value", ["n % 2 = 0", "NULL::bool", "n", "array_fill(0, ARRAY[50])", "''", "now()"])
async def test_small_values_that_are_wide_on_their_way_all_come(
    connection: asyncpg.Connection, value: str
) -> None:
    prepared = await prepare(connection, f"SELECT {value} FROM generate_series(1, 100000) n")
    # A byte for each is the least that any of them needs.
    found = await execute_limited(connection, prepared, (), 100_001, 5_100_000)
    assert (len(found.records), found.completed) == (100_000, True)
