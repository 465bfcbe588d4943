"""What is sent for a statement: a read by a cursor in portions, a write as it is."""

from __future__ import annotations

import json

import pytest

from sidecar.core.errors import Reason
from sidecar.postgres.neon_http.batch import Batch, Query, batch_of, batch_of_queries, joined
from tests.neon.standing import Standing
from tests.postgres.scoped import ALICE, CAROL, connected, query, refusal, rows, statement


def batch(sql: str, *, max_rows: int = 1000, read_only: bool = False) -> Batch:
    return batch_of(statement(sql, max_rows=max_rows, read_only=read_only), (), 0.5)


def sent(made: Batch) -> list[str]:
    return [" ".join(one.sql.split())[:20] for one in made.queries]


def test_a_read_goes_by_a_cursor() -> None:
    made = batch("select 1", max_rows=200, read_only=True)
    assert sent(made) == [
        "DISCARD PLANS",
        "SELECT pg_catalog.se",
        "DECLARE usher_result",
        "FETCH 128 FROM usher",
        "SELECT pg_catalog.se",
        "FETCH 73 FROM usher_",
    ]
    assert (made.results, made.cursor) == ((3, 5), True)
    assert made.queries[2].sql[made.prefix :] == "select 1"
    assert sent(batch("select 1", max_rows=4))[3:] == [
        "FETCH 5 FROM usher_r",
        "SELECT pg_catalog.se",
        "DO $$ DECLARE result",
    ]


@pytest.mark.parametrize(
    ("sql", "cursor"),
    [
        ("select 1", True),
        ("values (1)", True),
        ("table users", True),
        ("with t as (select 'delete' as \"insert\") select * from t -- update", True),
        ("with t as (select 1) select $$merge$$ from t", True),
        ("with w as (insert into notes values (1)) select 1", False),
        ("WITH w AS (SELECT 1) Delete FROM notes", False),
        ("with t as (select 'open) select 1", False),
        ("insert into notes values (1)", False),
        ("update notes set id = 1", False),
        ("delete from notes", False),
        ("merge into notes using notes n on true when matched then delete", False),
    ],
)
def test_which_statements_read(sql: str, cursor: bool) -> None:
    made = batch(sql)
    assert made.cursor is cursor
    if not cursor:
        assert (made.queries[2].sql, made.results, made.prefix) == (sql, (2,), 0)


@pytest.mark.parametrize(
    ("most", "counts"), [(1, [2]), (127, [128]), (128, [128, 1]), (10_000, [128, 1024, 8192, 657])]
)
def test_portions_grow_and_make_one_row_more_than_asked_for(most: int, counts: list[int]) -> None:
    made = batch("select 1", max_rows=most)
    assert [int(made.queries[index].sql.split()[1]) for index in made.results] == counts


def test_statements_are_joined_with_one_head_and_what_is_set_again_between() -> None:
    texts = ("select 1", "delete from notes", "table users")
    asked = [statement(sql, max_rows=4, timeout=2.0) for sql in texts]
    made = joined(asked, [batch_of(one, (), 0.5, number) for number, one in enumerate(asked, 1)])
    assert sent(made) == [
        "DISCARD PLANS",
        "SELECT pg_catalog.se",
        "DECLARE usher_result",
        "FETCH 5 FROM usher_r",
        "SELECT pg_catalog.se",
        "DO $$ DECLARE result",
        "CLOSE usher_result",
        "SELECT pg_catalog.se",
        "SELECT pg_catalog.se",
        "delete from notes",
        "SELECT pg_catalog.se",
        "SELECT pg_catalog.se",
        "DECLARE usher_result",
        "FETCH 5 FROM usher_r",
        "SELECT pg_catalog.se",
        "DO $$ DECLARE result",
    ]
    assert made.results == (3, 9, 13)
    # The timeout, and that of all statements so far.
    assert [made.queries[index].parameters for index in (4, 8, 11)] == [
        ("2000", "2000"),
        ("2000", "4000"),
        ("2000", "6000"),
    ]


def test_where_positions_differ_none_is_told() -> None:
    read, write = statement("select 1"), statement("delete from notes")
    alone = batch_of(read, (), 0.5).prefix
    for asked, prefix in (([read, read], alone), ([write, write], 0), ([read, write], None)):
        made = joined(asked, [batch_of(one, (), 0.5, number) for number, one in enumerate(asked, 1)])
        assert made.prefix == prefix


def test_the_body() -> None:
    made = batch_of_queries([Query(sql="select 'ü'", parameters=("x", None))], 0.0001, -0.5)
    (forget, settings, own) = json.loads(made.body())["queries"]
    assert (forget["query"], settings["params"]) == ("DISCARD PLANS", ["1", "-0.5"])
    assert own == {"query": "select 'ü'", "params": ["x", None]}
    assert made.results == (2,)


@pytest.mark.parametrize(
    "sql",
    [
        "/* note */ select 1 -- end",
        "(select 1)",
        "((values (1)))",
        "select 1;",
        "with t as (select 1) select 1 from t",
        "select 1 from users for update",
    ],
)
async def test_what_the_gate_lets_through_a_cursor_takes(there: Standing, sql: str) -> None:
    assert rows(await query(there.backend, ALICE, sql)) == [(1,)]


async def test_a_cursor_takes_no_into_which_would_leave_a_table_behind(there: Standing) -> None:
    refused = await refusal(there.backend, ALICE, "select 1 as n into temp t")
    assert (refused.reason, refused.metadata["position"]) == (Reason.SQL_SYNTAX, "25")


async def test_an_error_points_into_the_callers_sql(there: Standing) -> None:
    for sql in ("select nosuch from users", "with w as (delete from notes) select nosuch from users"):
        refused = await refusal(there.backend, ALICE, sql)
        assert refused.metadata["position"] == str(sql.index("nosuch") + 1)
    refused = await refusal(there.backend, ALICE, "select nosuch from users where id = $1", "x")
    assert refused.metadata["position"] == "8"


async def test_random_numbers_are_not_those_of_the_user_before(there: Standing) -> None:
    seen = set()
    for _ in range(3):
        await query(there.backend, ALICE, "select setseed(0.5)")
        seen.add(rows(await query(there.backend, ALICE, "select random()"))[0])
    assert len(seen) == 3


async def test_no_plan_of_a_function_keeps_the_user_before(there: Standing, neon_database: str) -> None:
    """Marked IMMUTABLE by mistake, a function is worked out once for a plan, which the session keeps."""
    async with connected(neon_database) as admin:
        await admin.execute(
            """
            CREATE FUNCTION me() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
              'BEGIN RETURN auth.user_id(); END';
            CREATE FUNCTION told() RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN me(); END';
            """
        )
        try:
            for who in (CAROL, ALICE, CAROL):
                assert rows(await query(there.backend, who, "select told()")) == [(who.subject,)]
        finally:
            await admin.execute("DROP FUNCTION told; DROP FUNCTION me")
