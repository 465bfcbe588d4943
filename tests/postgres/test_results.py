"""What became of a statement: cut reads count what was kept, and only Postgres knows what has written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import TypedConnection, prepare
from sidecar.postgres.driver import exchange_of, execute_limited
from sidecar.postgres.results import HAS_WRITTEN, has_written, result_of
from sidecar.postgres.wire import Step
from tests.postgres.scoped import connected, rows, statement

WRITE = "with w as (insert into t values (1) returning n) select n from w"


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_dsn, connection_class=TypedConnection) as connection:
        await connection.execute("CREATE TEMP TABLE t (n int)")
        yield connection


async def became(
    connection: asyncpg.Connection, sql: str, most: int = 10, *, read_only: bool = False
) -> tuple[ResultSet, bool]:
    """The result, and whether it counts as having written."""
    prepared = await prepare(connection, sql)
    after = () if read_only else (HAS_WRITTEN,)
    exchange = exchange_of(prepared, (Step(sql="BEGIN"),), after)
    run = await execute_limited(connection, prepared, (), most + 1, exchange=exchange)
    wrote = await has_written(connection, statement(sql, read_only=read_only), run, exchange)
    await connection.execute("ROLLBACK")
    return result_of(prepared, run, most), wrote


@pytest.mark.parametrize(
    ("sql", "wrote"), [("select 1", False), (WRITE, True), ("insert into t values (1) returning n", True)]
)
async def test_whether_it_has_written(connection: asyncpg.Connection, sql: str, wrote: bool) -> None:
    result, written = await became(connection, sql)
    assert (rows(result), written) == ([(1,)], wrote)


async def test_a_cut_read_counts_the_rows_that_were_kept(connection: asyncpg.Connection) -> None:
    for count in (3, 300):
        result, wrote = await became(connection, f"select generate_series(1, {count})", most=2)
        assert (result.row_count, result.truncated, wrote) == (2, True, False)
        assert (result.command_tag, result.affected_rows) == ("SELECT 2", 2)


async def test_of_a_read_only_one_nothing_is_asked(connection: asyncpg.Connection) -> None:
    assert (await became(connection, "select 1", read_only=True))[1] is False
