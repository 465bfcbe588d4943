"""Streams: the rows of a query, all of them and in order, on every backend that has them."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.queries import Backend
from sidecar.core.values import Kind
from tests.backends.kinds import Stage
from tests.backends.test_values import SENT
from tests.postgres.scoped import ALICE, CAROL, query, refusal, rows, until
from tests.postgres.streams import Held, Taken, cancelled, cut_off, stream

NUMBERS = "select n, 'number ' || n as name from generate_series(1, $1::text::int) as n order by n"
HERE = "FROM pg_stat_activity WHERE datname = current_database()"
SLEEPING = f"SELECT count(*) > 0 {HERE} AND wait_event = 'PgSleep'"
WAITING = f"SELECT count(*) = 1 {HERE} AND state = 'idle in transaction'"


def grows(small: str, size: int, count: int) -> str:
    """Rows of a text that is short at first, then of this size."""
    text = f"repeat('x', case when {small} then 1 else {size} end)"
    return f"select n, {text} from generate_series(1, {count}) n"


@pytest.fixture(autouse=True)
def _only_where_it_streams(request: pytest.FixtureRequest, stage: Stage) -> None:
    if stage.kind.streams == (request.node.originalname == "test_one_that_cannot_says_so"):
        pytest.skip("the other tests are for this kind")


async def test_one_that_cannot_says_so(backend: Backend) -> None:
    taken, refused = await cut_off(backend, ALICE, "select 1")
    assert (refused.reason, taken.columns) == (Reason.STATEMENT_NOT_ALLOWED, None)
    assert "RunScopedQuery" in refused.message


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 256, 257, 20_000])
async def test_all_rows_come_in_their_order(backend: Backend, count: int) -> None:
    taken = await stream(backend, ALICE, NUMBERS, str(count))
    assert taken.rows == [(n, f"number {n}") for n in range(1, count + 1)]
    assert taken.columns is not None
    assert [(column.name, column.kind) for column in taken.columns] == [("n", Kind.INT), ("name", Kind.TEXT)]
    assert taken.end is not None
    assert (taken.end.row_count, taken.end.truncated) == (count, False)
    assert taken.end.command_tag == f"SELECT {count}"


@pytest.mark.parametrize(
    ("limit", "count", "truncated"),
    [
        (1, 2, True),
        (2, 2, False),
        (127, 128, True),
        (128, 128, False),
        (128, 129, True),
        (500, 500, False),
        (500, 501, True),
    ],
)
async def test_the_limit_cuts_and_says_so(backend: Backend, limit: int, count: int, truncated: bool) -> None:
    taken = await stream(backend, ALICE, NUMBERS, str(count), max_rows=limit)
    assert [row[0] for row in taken.rows] == list(range(1, min(limit, count) + 1))
    assert taken.end is not None
    assert (taken.end.row_count, taken.end.truncated) == (min(limit, count), truncated)
    assert taken.end.command_tag == f"SELECT {min(limit, count)}"


async def test_an_endless_one_is_cut_as_well(backend: Backend) -> None:
    endless = "with recursive t(n) as (select 1 union all select n + 1 from t) select n from t"
    assert len((await stream(backend, ALICE, endless, max_rows=1000)).rows) == 1000


async def test_values_and_columns_are_those_of_a_query(backend: Backend) -> None:
    made = ", ".join(
        f"$${text}$$::{type_name} as a{index}, array[null, $${text}$$::{type_name}] as b{index}"
        for index, (type_name, text) in enumerate(
            (type_name, text or value)
            for type_name, kind, value, text in SENT
            if text or kind in (Kind.TEXT, Kind.JSON)
        )
    )
    sql = f"select {made}, n, case when n % 3 = 0 then 'x' end from generate_series(1, 300) n"
    result = await query(backend, ALICE, sql)
    taken = await stream(backend, ALICE, sql)
    assert taken.columns == result.columns
    assert repr(taken.rows) == repr(rows(result))


async def test_rows_are_those_of_the_user(backend: Backend) -> None:
    for who, name in ((ALICE, "alice"), (CAROL, "carol")):
        taken = await stream(backend, who, "select id, auth.user_id() from users")
        assert taken.rows == [(name, name)]


async def test_nothing_is_left_for_the_next_user(backend: Backend) -> None:
    """The backend has one connection."""
    leaving = (
        "select set_config('request.jwt.claims', '{}', false), set_config('app.secret', 's3cret', false),"
        " pg_advisory_lock(7), setseed(0.5)"
    )
    await cut_off_or_taken(backend, leaving)
    cursors = "(select count(*) from pg_cursors where statement ~ 'advisory_loc[k]')"
    seen = f"select auth.user_id(), current_setting('app.secret', true), {cursors}"
    ((user, secret, left),) = rows(await query(backend, CAROL, seen))
    assert (user, secret or "", left) == ("carol", "", 0)


async def cut_off_or_taken(backend: Backend, sql: str) -> Taken:
    """A stream that may end in an error of the caller's making."""
    taken = Taken()
    with contextlib.suppress(UsherError):
        await stream(backend, ALICE, sql, into=taken)
    return taken


async def test_claims_cannot_be_forged_for_rows_that_follow(backend: Backend) -> None:
    forging = (
        "select case when n = 1 then set_config('request.jwt.claims', '{\"sub\":\"carol\"}', true) end,"
        " (select string_agg(id, ',') from users where n > 0) from generate_series(1, 2000) n"
    )
    seen = (await cut_off_or_taken(backend, forging)).rows
    assert {row[1] for row in seen} <= {"alice", None}


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("insert into notes values (1, null, 'x') returning id", Reason.READ_ONLY),
        (
            "with w as (insert into notes values (1, null, 'x') returning id) select id from w",
            Reason.READ_ONLY,
        ),
        ("select nextval('pool_numbers')", Reason.READ_ONLY),
        ("select 1; select 2", Reason.MULTIPLE_STATEMENTS),
        ("select set_config('transaction_read_only', 'off', true)", Reason.STATEMENT_INVALID),
        # Its own portal, which runs.
        ("select cursor_to_xml('usher_result', 1, true, true, '')", Reason.STATEMENT_INVALID),
        ("select no_such_column from users", Reason.UNDEFINED_OBJECT),
        ("select array[[1, 2]]", Reason.DATA_EXCEPTION),
    ],
)
async def test_what_cannot_run_is_refused(backend: Backend, sql: str, reason: Reason) -> None:
    taken, refused = await cut_off(backend, ALICE, sql)
    assert (refused.reason, taken.rows) == (reason, [])
    assert rows(await query(backend, ALICE, "select count(*) from notes")) == [(0,)]


async def test_rows_before_an_error_come_all(backend: Backend) -> None:
    failing = "select n, 1 / (n - 5000) from generate_series(1, 10000) n"
    taken, refused = await cut_off(backend, ALICE, failing)
    assert (refused.reason, refused.metadata["sqlstate"]) == (Reason.DATA_EXCEPTION, "22012")
    assert [row[0] for row in taken.rows] == list(range(1, 5000))
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]


async def test_a_value_that_cannot_travel_ends_a_stream(backend: Backend) -> None:
    nested = (
        "select n, case when n < 1000 then '{1}' else '{{1},{2}}' end::int[] from generate_series(1, 2000) n"
    )
    taken, refused = await cut_off(backend, ALICE, nested)
    assert refused.reason is Reason.DATA_EXCEPTION
    assert 128 <= len(taken.rows) < 1000


async def test_the_timeout_is_for_each_portion(backend: Backend) -> None:
    """Each of them takes a while, and all together longer than one may."""
    slow = "select n, case when n % 100 = 0 then pg_sleep(0.1) end from generate_series(1, 1000) n"
    taken = await stream(backend, ALICE, slow, into=Taken(row_bytes=1000), timeout=0.6)
    assert len(taken.rows) == 1000


@pytest.mark.parametrize("stretched", ["null", "set_config('statement_timeout', '0', true)"])
async def test_a_portion_ends_at_its_timeout(backend: Backend, stretched: str) -> None:
    sleeping = (
        f"select n, case when n = 1 then {stretched} end, case when n = 300 then pg_sleep(60) end"
        " from generate_series(1, 400) n"
    )
    taken, refused = await cut_off(backend, ALICE, sleeping, timeout=0.3)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    assert len(taken.rows) >= 128
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]


async def test_a_cancelled_stream_runs_no_longer(backend: Backend, admin: asyncpg.Connection) -> None:
    sleeping = "select n, case when n = 200 then pg_sleep(60) end from generate_series(1, 400) n"
    task = asyncio.create_task(stream(backend, ALICE, sleeping))
    await until(admin, SLEEPING)
    await cancelled(task)
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    assert not await admin.fetchval(SLEEPING)


async def test_one_that_nobody_takes_waits_and_can_be_cancelled(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    held = Held()
    task = asyncio.create_task(stream(backend, ALICE, NUMBERS, "1000000", into=held))
    await held.holds.wait()
    await until(admin, WAITING)
    await cancelled(task)
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    await until(admin, f"SELECT NOT ({WAITING})")


@pytest.mark.parametrize("after", ["taken", "cancelled"])
async def test_rows_that_become_large_at_once_are_taken_in_parts(backend: Backend, after: str) -> None:
    """The portion is for small rows; it is cut before it fills the memory."""
    growing = grows("n < 2000", 1_000_000, 2050)
    held = Held(chunks=4) if after == "cancelled" else Taken()
    task = asyncio.create_task(stream(backend, ALICE, growing, into=held))
    if isinstance(held, Held):
        await held.holds.wait()
        await cancelled(task)
    else:
        taken = await task
        assert [row[0] for row in taken.rows] == list(range(1, 2051))
        assert {len(row[1]) for row in taken.rows[1999:]} == {1_000_000}
        assert max(sum(len(row[1]) for row in zip(*c.data, strict=True)) for c in taken.chunks) < 8_000_000
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]


async def test_a_row_that_cannot_fit_is_not_read(stage: Stage) -> None:
    async with stage.open(max_result_bytes=2**20) as backend:
        taken, refused = await cut_off(backend, ALICE, grows("n < 150", 30_000_000, 200))
        assert (refused.reason, refused.metadata["limit"]) == (Reason.RESULT_TOO_LARGE, str(2**20))
        assert len(taken.rows) >= 128
        assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]


async def test_a_stream_without_columns_has_no_rows_to_send(backend: Backend) -> None:
    taken = await stream(backend, ALICE, "select from generate_series(1, 300)")
    assert (taken.columns, taken.chunks) == ((), [])
    assert taken.end is not None
    assert (taken.end.row_count, taken.end.command_tag) == (0, "SELECT 300")


async def test_parameters_that_do_not_fit_are_refused_as_for_a_query(backend: Backend) -> None:
    for values in ((), ("x",)):
        asked = await refusal(backend, ALICE, "select $1::int", *values)
        _, refused = await cut_off(backend, ALICE, "select $1::int", *values)
        assert (refused.reason, refused.message) == (asked.reason, asked.message)
