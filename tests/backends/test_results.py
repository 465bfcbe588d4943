"""What comes back: columns, rows, counts, and where the limits cut."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.queries import Backend
from sidecar.core.values import Kind
from tests.postgres.scoped import ALICE, query, refusal, rows

INSERT = "insert into notes select n, null, 'b' from generate_series(1, 50) as n returning id"
WRITES = [
    (INSERT, "INSERT 0 50", 50),
    ("update notes set body = 'c' returning id", "UPDATE 50", 50),
    (
        "with old as (select id from notes) delete from notes using old where notes.id = old.id returning 1",
        "DELETE 50",
        0,
    ),
    (f"with more as (select 1) {INSERT}", "INSERT 0 50", 50),
    ("delete from notes returning body", "DELETE 50", 0),
    # What a SELECT counts are the rows that it returned.
    (f"with made as ({INSERT}) select id from made", "SELECT 2", 50),
    ("with gone as (delete from notes) select 1 from generate_series(1, 9)", "SELECT 2", 0),
]


async def test_values_are_typed(backend: Backend) -> None:
    result = await query(backend, ALICE, "select id, length(id) as n, $1::numeric as x from users", "1.50")
    assert [(column.name, column.kind) for column in result.columns] == [
        ("id", Kind.TEXT),
        ("n", Kind.INT),
        ("x", Kind.NUMERIC),
    ]
    assert rows(result) == [("alice", 5, "1.50")]
    assert (result.row_count, result.truncated) == (1, False)
    assert (result.command_tag, result.affected_rows) == ("SELECT 1", 1)


async def test_a_parameter_without_a_type_is_text(backend: Backend) -> None:
    assert rows(await query(backend, ALICE, "select $1", "x")) == [("x",)]


@pytest.mark.parametrize(
    "sql",
    [
        "select n from generate_series(1, 10) as n",
        "values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
        "with t as (select n from generate_series(1, 10) as n) select n from t",
        # It would never end.
        "with recursive t(n) as (select 1 union all select n % 10 + 1 from t) select n from t",
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_read_is_cut_at_the_limit(backend: Backend, sql: str, read_only: bool) -> None:
    result = await query(backend, ALICE, sql, max_rows=4, read_only=read_only)
    assert rows(result) == [(1,), (2,), (3,), (4,)]
    assert (result.row_count, result.truncated) == (4, True)
    assert (result.command_tag, result.affected_rows) == ("SELECT 4", 4)


async def test_a_result_as_long_as_the_limit_is_whole(backend: Backend) -> None:
    result = await query(backend, ALICE, "select generate_series(1, 4)", max_rows=4)
    assert (result.row_count, result.truncated, result.command_tag) == (4, False, "SELECT 4")


async def test_writes_run_to_their_end_and_are_counted_in_full(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    for sql, tag, left in WRITES:
        result = await query(backend, ALICE, sql, max_rows=2)
        assert (result.row_count, result.truncated) == (2, True)
        assert result.command_tag == tag
        assert result.affected_rows == int(tag.split()[-1])
        assert await admin.fetchval("SELECT count(*) FROM notes") == left


async def test_a_statement_without_columns_has_no_rows(backend: Backend) -> None:
    result = await query(backend, ALICE, "update users set name = name")
    assert (result.columns, result.data, result.row_count) == ((), (), 0)
    result = await query(backend, ALICE, "select from generate_series(1, 3)")
    assert (result.row_count, result.affected_rows, result.command_tag) == (0, 3, "SELECT 3")


async def test_a_select_that_writes_by_a_function_runs_to_its_end_though_the_limit_cuts_it(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    await admin.execute(
        """
        CREATE TABLE written (n int);
        GRANT SELECT, INSERT ON written TO authenticated;
        CREATE FUNCTION write(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO written VALUES (n) RETURNING n';
        """
    )
    try:
        result = await query(backend, ALICE, "select write(n) from generate_series(1, 50) as n", max_rows=10)
        assert (result.row_count, result.truncated) == (10, True)
        assert await admin.fetchval("SELECT count(*) FROM written") == 50
    finally:
        await admin.execute("DROP FUNCTION write; DROP TABLE written")


async def test_a_result_that_is_too_large_is_given_up_early_and_nothing_is_written(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    """The rows are counted as Postgres makes them: far fewer than all are ever made."""
    await admin.execute("CREATE SEQUENCE made; GRANT USAGE ON made TO authenticated")
    try:
        refused = await refusal(
            backend,
            ALICE,
            "select nextval('made'), repeat('x', 100000) from generate_series(1, 10000)",
            max_rows=10_000,
        )
        assert refused.reason is Reason.RESULT_TOO_LARGE
        assert await admin.fetchval("SELECT last_value FROM made") < 300
    finally:
        await admin.execute("DROP SEQUENCE made")


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 300, 1000])
async def test_results_of_one_portion_and_of_more_are_whole(backend: Backend, count: int) -> None:
    result = await query(backend, ALICE, "select n from generate_series(1, $1::int) as n", str(count))
    assert [n for (n,) in rows(result)] == list(range(1, count + 1))
    assert (result.command_tag, result.affected_rows) == (f"SELECT {count}", count)
    sql = "insert into notes select n, null, 'b' from generate_series(1, $1::int) as n returning id"
    inserted = await query(backend, ALICE, sql, str(count))
    assert (inserted.command_tag, inserted.row_count) == (f"INSERT 0 {count}", count)
    await query(backend, ALICE, "delete from notes")


async def test_warnings_and_floods_of_notices_are_passed_over(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    await admin.execute(
        """
        CREATE OR REPLACE FUNCTION talk(level text) RETURNS int LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM set_config('client_min_messages', level, true);
          FOR i IN 1..20000 LOOP
            RAISE NOTICE 'number %', i;
            RAISE WARNING 'number %', i;
          END LOOP;
          RETURN 7;
        END $$
        """
    )
    for level in ("error", "debug5"):
        assert rows(await query(backend, ALICE, "select talk($1)", level)) == [(7,)]
