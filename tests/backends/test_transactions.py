"""Several statements in one transaction: all of them or none, each as the scope, each held to its limits."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.transactions import Transaction, TransactionBackend
from tests.backends.kinds import Stage
from tests.backends.test_isolation import LOOK, OWN
from tests.backends.test_time import SLEEPING
from tests.backends.test_transaction_isolation import COUNT, insert
from tests.postgres.scoped import (
    ALICE,
    CANARY,
    CAROL,
    PATIENCE,
    query,
    refused_transaction,
    rows,
    statement,
    transact,
    until,
)


async def test_a_later_statement_sees_what_an_earlier_one_wrote(
    backend: TransactionBackend, notes: asyncpg.Connection
) -> None:
    for _ in range(2):  # the second time all are known
        made, read, changed, gone = await transact(
            backend,
            ALICE,
            statement("insert into notes values ($1, null, $2), (2, null, 'b') returning id", "1", "a"),
            "select id, body from notes order by id",
            "update notes set body = 'c'",
            "delete from notes where id = 1 returning body",
        )
        assert (rows(made), made.command_tag) == ([(1,), (2,)], "INSERT 0 2")
        assert rows(read) == [(1, "a"), (2, "b")]
        assert (changed.columns, changed.affected_rows) == ((), 2)
        assert rows(gone) == [("c",)]
        assert await notes.fetchval("DELETE FROM notes RETURNING body") == "c"


async def test_all_are_undone_when_one_fails(backend: TransactionBackend, notes: asyncpg.Connection) -> None:
    for _ in range(2):
        refused = await refused_transaction(backend, ALICE, insert(1), COUNT, insert(1), "select 1")
        assert refused.reason is Reason.UNIQUE_VIOLATION
        assert await notes.fetchval(COUNT) == 0
        assert rows(await query(backend, CAROL, LOOK)) == [("carol", "carol", "carol")]


async def test_an_error_names_the_statement(backend: TransactionBackend, stage: Stage) -> None:
    refused = await refused_transaction(backend, ALICE, "select 1", statement("select 1 / $1::int", "0"))
    assert refused.reason is Reason.DATA_EXCEPTION
    if stage.kind.name != "neon-http":  # Neon does not say which it was
        assert refused.metadata["statement_index"] == "1"
        assert refused.message.startswith("statements[1]: ")
    refused = await refused_transaction(backend, ALICE, "select 1", statement("select $1::int", CANARY))
    assert (refused.reason, refused.metadata["statement_index"]) == (Reason.PARAMETER_TYPE, "1")
    assert [violation.field for violation in refused.violations] == ["statements[1].parameters[0]"]
    refused = await refused_transaction(backend, ALICE, "select 1", statement("select $1::int"))
    assert refused.reason is Reason.PARAMETER_COUNT
    assert refused.metadata.get("statement_index", "1") == "1"


async def test_each_is_cut_at_its_own_limit(backend: TransactionBackend, notes: asyncpg.Connection) -> None:
    many = "select n from generate_series(1, 300) as n"
    written = "insert into notes select n, null, 'b' from generate_series(1, 50) as n returning id"
    for _ in range(2):
        results = await transact(
            backend,
            ALICE,
            statement(many, max_rows=200),
            statement(written, max_rows=2),
            statement(many, max_rows=3),
            many,
        )
        assert [(one.row_count, one.truncated) for one in results] == [
            (200, True),
            (2, True),
            (3, True),
            (300, False),
        ]
        assert [one.command_tag for one in results] == [
            "SELECT 200",
            "INSERT 0 50",
            "SELECT 3",
            "SELECT 300",
        ]
        assert await notes.fetchval("WITH d AS (DELETE FROM notes RETURNING 1) SELECT count(*) FROM d") == 50


async def test_results_together_have_one_limit_of_bytes(stage: Stage, notes: asyncpg.Connection) -> None:
    half = "select repeat('x', 600)"
    async with stage.open(max_result_bytes=1000) as backend:
        await transact(backend, ALICE, half, statement("select 1"))
        refused = await refused_transaction(backend, ALICE, insert(1), half, half)
        assert (refused.reason, refused.metadata["limit"]) == (Reason.RESULT_TOO_LARGE, "1000")
        if stage.kind.name == "neon-http":
            assert refused.metadata["committed"] == "true"
        else:
            assert refused.metadata["statement_index"] == "2"
            await query(backend, ALICE, "select 1")  # on the same connection, so the other has ended
            assert await notes.fetchval(COUNT) == 0


async def test_results_that_cannot_be_delivered_leave_nothing_written(
    backend: TransactionBackend, notes: asyncpg.Connection
) -> None:
    def refuse(results: object) -> None:
        raise UsherError(Reason.RESULT_TOO_LARGE, "too large")

    asked = Transaction(statements=(statement(insert(1)), statement(insert(2))))
    with pytest.raises(UsherError, match="too large"):
        await backend.run_transaction(ALICE, asked, refuse)
    await query(backend, ALICE, "select 1")
    assert await notes.fetchval(COUNT) == 0


async def test_read_only_is_kept(backend: TransactionBackend, notes: asyncpg.Connection) -> None:
    read, write = statement("select 1", read_only=True), statement(insert(1), read_only=True)
    off = statement("select set_config('transaction_read_only', 'off', true)", read_only=True)
    assert (await refused_transaction(backend, ALICE, read, write)).reason is Reason.READ_ONLY
    assert (await refused_transaction(backend, ALICE, read, off, write)).reason is Reason.STATEMENT_INVALID
    assert [rows(one) for one in await transact(backend, ALICE, read, read)] == [[(1,)], [(1,)]]
    assert await notes.fetchval(COUNT) == 0


async def test_each_has_the_whole_timeout_and_no_more(
    backend: TransactionBackend, notes: asyncpg.Connection
) -> None:
    for switch in ("select 1", "select set_config('statement_timeout', '0', true)"):
        refused = await refused_transaction(
            backend,
            ALICE,
            statement(insert(1), timeout=1.0),
            statement("select pg_sleep(0.55)", timeout=1.0),
            statement(switch, timeout=1.0),
            statement("select pg_sleep(0.55)", timeout=1.0),
            statement("select pg_sleep(60)", timeout=1.0),
        )
        assert refused.reason is Reason.STATEMENT_TIMEOUT
        assert refused.metadata.get("statement_index", "4") == "4"
        await query(backend, ALICE, "select 1")
        assert await notes.fetchval(COUNT) == 0


async def test_a_cancelled_transaction_writes_nothing_and_runs_no_longer(
    backend: TransactionBackend, notes: asyncpg.Connection
) -> None:
    running = f"SELECT count(*) > 0 {SLEEPING}"
    for _ in range(2):
        sleeping = asyncio.create_task(transact(backend, ALICE, insert(1), "select pg_sleep(60)", "select 1"))
        await until(notes, running)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
        assert not await notes.fetchval(running)
        assert await notes.fetchval(COUNT) == 0


async def test_a_session_that_is_killed_in_the_middle_writes_nothing(
    backend: TransactionBackend, stage: Stage, notes: asyncpg.Connection
) -> None:
    sleeping = asyncio.create_task(
        refused_transaction(backend, ALICE, insert(1), "select pg_sleep(60)", "select 1")
    )
    await until(notes, f"SELECT bool_or(pg_terminate_backend(pid)) {SLEEPING}")
    refused = await sleeping
    if stage.kind.name != "neon-http":  # there the answer does not tell whether it was in the commit
        assert refused.reason is Reason.DATABASE_UNAVAILABLE
        assert (refused.retryable, refused.metadata["statement_index"]) == (True, "1")
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]
    assert await notes.fetchval(COUNT) == 0


async def test_a_connection_lost_during_the_commit_leaves_the_outcome_open(
    backend: TransactionBackend, notes: asyncpg.Connection
) -> None:
    await notes.execute(
        """
        CREATE TABLE trap (id int);
        GRANT INSERT ON trap TO authenticated;
        CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION spring();
        """
    )
    try:
        refused = await refused_transaction(backend, ALICE, "insert into trap values (1)", "select 1")
    finally:
        await notes.execute("DROP TABLE trap; DROP FUNCTION spring")
    assert (refused.reason, refused.metadata) == (Reason.DATABASE_ERROR, {"sqlstate": "08007"})
    assert not refused.retryable


async def test_what_fails_at_the_commit_is_no_statements(
    backend: TransactionBackend, stage: Stage, notes: asyncpg.Connection
) -> None:
    refused = await refused_transaction(backend, ALICE, "insert into notes values (1, 2, 'x')", "select 1")
    assert (refused.reason, refused.metadata["constraint"]) == (
        Reason.FOREIGN_KEY_VIOLATION,
        "notes_parent_fkey",
    )
    assert "statement_index" not in refused.metadata
    assert await notes.fetchval(COUNT) == 0
    # The parent may come later.
    await transact(backend, ALICE, "insert into notes values (1, 2, 'x')", insert(2))
    assert await notes.fetchval(COUNT) == 2


FIRSTS = {
    "the claims": "select set_config('request.jwt.claims', '{\"sub\": \"carol\"}', {})",
    "no claims": "select set_config('request.jwt.claims', '', {})",
    "a tag": "select set_config('usher.claim_tag', 'k.00', {})",
    "the role": "select set_config('role', 'none', {})",
    "another role": "select set_config('role', 'anonymous', {})",
    "the search path": "select set_config('search_path', 'pg_temp, elsewhere', {}), 1",
    "row security": "select set_config('row_security', 'off', {})",
    "a timeout": "select set_config('statement_timeout', '0', {})",
    "the level": "select set_config('default_transaction_isolation', 'serializable', {})",
    "read-only": "select set_config('default_transaction_read_only', 'on', {})",
    "the style of dates": "select set_config('DateStyle', 'German', {})",
}
NEXT = (
    "select current_user::text, auth.user_id(), (select string_agg(id, ',') from public.users),"
    " current_setting('statement_timeout') = '0'"
)
CLOSED = (Reason.CLAIMS_TAMPERED, Reason.STATEMENT_INVALID, Reason.INSUFFICIENT_PRIVILEGE)


@pytest.mark.parametrize("local", ["true", "false"], ids=["in the transaction", "in the session"])
@pytest.mark.parametrize("first", FIRSTS.values(), ids=FIRSTS)
async def test_no_statement_makes_a_later_one_another_users(
    backend: TransactionBackend, stage: Stage, first: str, local: str
) -> None:
    for look in ("select 1", NEXT):
        try:
            *_, seen = await transact(
                backend, ALICE, statement(NEXT), first.replace("{}", local), statement(look), statement(NEXT)
            )
        except UsherError as error:
            assert error.reason in CLOSED, error  # noqa: PT017
        else:
            ((role, *who, endless),) = rows(seen)
            assert (role, endless) == ("authenticated", False)
            # On Neon nobody can give back what a statement has dropped, but none can take another's.
            assert who == ["alice", "alice"] or (stage.kind.name == "neon-http" and who == [None, None])
        assert rows(await query(backend, CAROL, LOOK)) == [("carol", "carol", "carol")]
        assert rows(await query(backend, ALICE, LOOK)) == [OWN]


async def test_what_a_statement_sets_otherwise_holds_for_the_next(backend: TransactionBackend) -> None:
    """As it would within the same statement: a function or trigger may ask for it."""
    _, seen = await transact(
        backend, ALICE, "select set_config('app.note', 'why', true)", "select current_setting('app.note')"
    )
    assert rows(seen) == [("why",)]
    gone = "select current_setting('app.note', true)"
    assert rows(await query(backend, ALICE, gone)) in ([(None,)], [("",)])


ACTIONS = st.sampled_from(
    [
        "insert into notes values ((select coalesce(max(id), 0) + 1 from notes), null, 'x') returning id",
        "insert into notes values (1, null, 'one') on conflict do nothing",
        "update notes set body = body || '.' where id % 2 = 1 returning id, body",
        "delete from notes where id = (select min(id) from notes)",
        "select id, body from notes order by id",
        "with w as (delete from notes where id > 3 returning id) select count(*) from w",
        "values (1), (2)",
    ]
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ACTIONS, min_size=1, max_size=6), most=st.integers(1, 3))
def test_together_they_give_what_they_give_apart(stage: Stage, texts: list[str], most: int) -> None:
    async def both() -> None:
        async with stage.open() as backend, asyncio.timeout(PATIENCE):
            asked = [statement(text, max_rows=most) for text in texts]
            apart = [await query(backend, ALICE, text, max_rows=most) for text in texts]
            left = rows(await query(backend, ALICE, "select * from notes order by id"))
            await query(backend, ALICE, "delete from notes")
            assert await transact(backend, ALICE, *asked) == apart
            assert rows(await query(backend, ALICE, "select * from notes order by id")) == left
            await query(backend, ALICE, "delete from notes")

    asyncio.run(both())
