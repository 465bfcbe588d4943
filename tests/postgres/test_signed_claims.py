"""The stock backend on a real server: who sees what, what is written, what is refused, and what is left."""

from __future__ import annotations

import asyncio
import random
import time

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.values import Kind, ResultSet
from sidecar.postgres.pool import Pool
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.fakes import START
from tests.postgres.scoped import (
    ALICE,
    CANARY,
    CAROL,
    LOGIN,
    PATIENCE,
    Place,
    query,
    refusal,
    rows,
    running_backend,
    scope,
    statement,
    until,
)

# -- Who sees what.


async def test_each_user_sees_what_their_claims_allow(backend: SignedClaimsBackend) -> None:
    for who, tenant in ((ALICE, "acme"), (CAROL, "globex")):
        assert rows(await query(backend, who, "select tenant_id, id from users")) == [(tenant, who.subject)]
        assert rows(await query(backend, who, "select id from tenants")) == [(tenant,)]


@pytest.mark.parametrize(
    "who",
    [
        scope("nobody", tenant_id="nowhere"),
        scope("nobody", unknown={"deep": [1, 2, None]}),
        Scope(subject="", payload={}),
        Scope(subject="", payload={"sub": None, "tenant_id": ["acme"]}),
    ],
)
async def test_claims_that_no_policy_knows_yield_no_rows(backend: SignedClaimsBackend, who: Scope) -> None:
    for table in ("users", "tenants"):
        assert (await query(backend, who, f"select * from {table}")).row_count == 0


async def test_a_row_for_the_other_tenant_is_refused(backend: SignedClaimsBackend, place: Place) -> None:
    refused = await refusal(backend, ALICE, "insert into users values ('globex', 'mallory', $1, $1)", CANARY)
    assert refused.reason is Reason.ROW_LEVEL_SECURITY
    assert dict(refused.metadata) == {"sqlstate": "42501"}
    refused = await refusal(backend, ALICE, "insert into tenants values ('initech', 'Initech')")
    assert refused.reason is Reason.ROW_LEVEL_SECURITY
    # Rows that cannot be seen cannot be changed either, and that is no error.
    assert (await query(backend, ALICE, "update users set name = 'x' where id = 'carol'")).affected_rows == 0
    assert (await query(backend, ALICE, "delete from tenants where id = 'globex'")).affected_rows == 0


async def test_users_may_change_their_own_row(backend: SignedClaimsBackend) -> None:
    changed = await query(backend, ALICE, "update users set name = $1 returning name", "Alicia")
    assert rows(changed) == [("Alicia",)]
    assert (changed.command_tag, changed.affected_rows) == ("UPDATE 1", 1)
    await query(backend, ALICE, "update users set name = $1", "Alice Archer")


async def test_identity_ends_with_the_transaction(backend: SignedClaimsBackend, pool: Pool) -> None:
    look = "SELECT current_user::text, current_setting('statement_timeout')"
    async with pool.lease() as connection:
        await backend._enter(connection, ALICE, 7.5, read_only=False)
        assert tuple(await connection.fetchrow(look)) == ("authenticated", "7500ms")
        assert await connection.fetchval("SELECT auth.user_id()") == "alice"
        await backend._commit(connection, may_have_written=True)
        # Before anything is scrubbed.
        assert tuple(await connection.fetchrow(look)) == (LOGIN, "0")
        with pytest.raises(asyncpg.PostgresError, match="no claims are set"):
            await connection.fetchval("SELECT auth.session()")


async def test_who_am_i_is_what_postgres_sees(backend: SignedClaimsBackend, place: Place) -> None:
    seen = await backend.who_am_i(ALICE)
    assert (seen.role, seen.login_role, seen.user_id) == ("authenticated", LOGIN, "alice")
    assert seen.session == '{"iat": 1900000000, "sub": "alice", "tenant_id": "acme"}'
    assert seen.row_security_applies
    assert place.login.endswith(f"/{seen.database}")
    assert seen.server_version >= 140000
    assert seen.claims_age is not None
    assert abs(seen.claims_age - (SystemClock().now() - START)) < 60
    nobody = await backend.who_am_i(Scope(subject="", payload={}))
    assert (nobody.user_id, nobody.session, nobody.claims_age) == (None, "{}", None)
    assert backend.kind == "postgres"


async def test_two_tenants_on_three_connections_never_meet(place: Place) -> None:
    """200 queries of two tenants at once; some try to leave something behind for the other."""
    attempts = [
        """select set_config('request.jwt.claims', '{"sub":"carol"}', false), id from users""",
        "select set_config('role', 'none', false), id from users",
        "select set_config('search_path', 'pg_temp', false), id from users",
        "select set_config('row_security', 'off', false), id from users",
        "select pg_advisory_lock(5), id from users",
        "select 'x' as y, id into temp users from public.users",
        "select id from users where 1 / length(id) > 0",
        "select 1 / 0 from users",
    ]
    chance = random.Random(2)
    async with running_backend(place.login, max_size=3, acquire_timeout=PATIENCE) as backend:

        async def look(who: Scope, attempt: str) -> None:
            tenant = who.payload["tenant_id"]
            found = await query(backend, who, "select tenant_id, id, auth.user_id() from users")
            assert rows(found) == [(tenant, who.subject, who.subject)]
            try:
                await query(backend, who, attempt)
            except UsherError as error:
                assert error.reason in (Reason.DATA_EXCEPTION, Reason.INSUFFICIENT_PRIVILEGE)  # noqa: PT017

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(
                *(look(chance.choice((ALICE, CAROL)), chance.choice(attempts)) for _ in range(100))
            )


async def test_the_text_of_one_user_is_not_there_for_the_next(backend: SignedClaimsBackend) -> None:
    texts = "select coalesce(string_agg(statement, ';'), '') from pg_prepared_statements"
    await query(backend, ALICE, f"select '{CANARY}'")
    assert CANARY not in rows(await query(backend, CAROL, texts))[0][0]
    # An error that somebody still holds holds the statement, too.
    error = await refusal(backend, ALICE, f"select length('{CANARY}') / 0")
    assert CANARY not in rows(await query(backend, CAROL, texts))[0][0]
    assert error.reason is Reason.DATA_EXCEPTION


# -- What comes back.


async def test_values_are_typed(backend: SignedClaimsBackend) -> None:
    result = await query(backend, ALICE, "select id, length(id) as n, $1::numeric as x from users", "1.50")
    assert [(column.name, column.kind) for column in result.columns] == [
        ("id", Kind.TEXT),
        ("n", Kind.INT),
        ("x", Kind.NUMERIC),
    ]
    assert rows(result) == [("alice", 5, "1.50")]
    assert (result.row_count, result.truncated) == (1, False)
    assert (result.command_tag, result.affected_rows) == ("SELECT 1", 1)


async def test_a_parameter_without_a_type_is_text(backend: SignedClaimsBackend) -> None:
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
async def test_a_read_is_cut_at_the_limit(backend: SignedClaimsBackend, sql: str, read_only: bool) -> None:
    result = await query(backend, ALICE, sql, max_rows=4, read_only=read_only)
    assert rows(result) == [(1,), (2,), (3,), (4,)]
    assert (result.row_count, result.truncated) == (4, True)
    assert (result.command_tag, result.affected_rows) == ("SELECT 4", 4)


async def test_a_result_as_long_as_the_limit_is_whole(backend: SignedClaimsBackend) -> None:
    result = await query(backend, ALICE, "select generate_series(1, 4)", max_rows=4)
    assert (result.row_count, result.truncated, result.command_tag) == (4, False, "SELECT 4")


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


async def test_writes_run_to_their_end_and_are_counted_in_full(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    for sql, tag, left in WRITES:
        result = await query(backend, ALICE, sql, max_rows=2)
        assert (result.row_count, result.truncated) == (2, True)
        assert result.command_tag == tag
        assert result.affected_rows == int(tag.split()[-1])
        assert await admin.fetchval("SELECT count(*) FROM notes") == left


async def test_a_statement_without_columns_has_no_rows(backend: SignedClaimsBackend) -> None:
    result = await query(backend, ALICE, "update users set name = name")
    assert (result.columns, result.data, result.row_count) == ((), (), 0)
    result = await query(backend, ALICE, "select from generate_series(1, 3)")
    assert (result.row_count, result.affected_rows, result.command_tag) == (0, 3, "SELECT 3")


async def test_warnings_and_floods_of_notices_are_passed_over(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
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


# -- What is written, and when not.


async def test_a_result_that_cannot_be_delivered_leaves_nothing_written(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    def refuse(result: ResultSet) -> None:
        sealed.append(result.row_count)
        raise UsherError(Reason.RESULT_TOO_LARGE, "too large")

    sealed: list[int] = []
    with pytest.raises(UsherError) as refused:
        await backend.run(ALICE, statement(INSERT), refuse)
    assert refused.value.reason is Reason.RESULT_TOO_LARGE
    assert sealed == [50]
    await query(backend, ALICE, "select 1")  # on the same connection, so the other has ended
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_the_sealed_form_is_given_back(backend: SignedClaimsBackend) -> None:
    sealed, result = await backend.run(ALICE, statement("select 1"), lambda result: result.command_tag)
    assert (sealed, result.command_tag) == ("SELECT 1", "SELECT 1")


async def test_a_constraint_that_fails_at_the_commit_is_an_error(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    refused = await refusal(backend, ALICE, "insert into notes values (1, 2, $1)", CANARY)
    assert refused.reason is Reason.FOREIGN_KEY_VIOLATION
    assert refused.metadata["constraint"] == "notes_parent_fkey"
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_the_commit_of_a_failed_transaction_is_no_success(
    backend: SignedClaimsBackend, pool: Pool
) -> None:
    async with pool.lease() as connection:
        await connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(UsherError) as refused:
            await backend._commit(connection, may_have_written=True)
    assert refused.value.reason is Reason.DATABASE_ERROR


async def test_a_connection_lost_during_the_commit_leaves_the_outcome_open(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    await admin.execute(
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
        refused = await refusal(backend, ALICE, "insert into trap values (1)")
    finally:
        await admin.execute("DROP TABLE trap; DROP FUNCTION spring")
    assert refused.reason is Reason.DATABASE_ERROR
    assert refused.metadata["sqlstate"] == "08007"
    assert not refused.retryable
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


async def test_read_only_is_kept(backend: SignedClaimsBackend, admin: asyncpg.Connection) -> None:
    write = "insert into notes values (1, null, 'x')"
    for sql in (write, f"with w as ({write} returning 1) select * from w", "select nextval('pool_numbers')"):
        assert (await refusal(backend, ALICE, sql, read_only=True)).reason is Reason.READ_ONLY
    escape = "select set_config('transaction_read_only', 'off', true)"
    assert (await refusal(backend, ALICE, escape, read_only=True)).reason is Reason.STATEMENT_INVALID
    assert rows(await query(backend, ALICE, "select id from users", read_only=True)) == [("alice",)]


# -- Time and cancellation.


async def test_a_statement_ends_at_its_timeout(backend: SignedClaimsBackend) -> None:
    refused = await refusal(backend, ALICE, "select pg_sleep(60)", timeout=0.05)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


@pytest.mark.parametrize("setting", ["1h", "0"])
async def test_a_statement_cannot_stretch_its_timeout_by_many_rows(
    backend: SignedClaimsBackend, setting: str
) -> None:
    """Rows come in portions, and for each of them Postgres begins its timer anew, as it is set by then."""
    stretched = (
        f"select case when n = 1 then set_config('statement_timeout', '{setting}', true) end,"
        " case when n = 300 then pg_sleep(60) end from generate_series(1, 400) n"
    )
    started = time.monotonic()
    refused = await refusal(backend, ALICE, stretched, timeout=0.2)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    assert time.monotonic() - started < PATIENCE
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


async def test_an_endless_write_ends_at_its_timeout(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    endless = (
        "with recursive t(n) as (select 1 union all select n + 1 from t), "
        "w as (insert into notes values (7, null, 'x') returning id) select nextval('pool_numbers') from t, w"
    )
    refused = await refusal(backend, ALICE, endless, timeout=0.2, max_rows=1)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    await query(backend, ALICE, "select 1")
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


@pytest.mark.parametrize(
    ("act", "reason", "sqlstate"),
    [
        ("pg_cancel_backend", Reason.DATABASE_ERROR, "57014"),
        ("pg_terminate_backend", Reason.DATABASE_UNAVAILABLE, "57P01"),
    ],
)
async def test_an_administrator_may_end_a_statement(
    backend: SignedClaimsBackend, admin: asyncpg.Connection, act: str, reason: Reason, sqlstate: str
) -> None:
    sleeping = asyncio.create_task(refusal(backend, ALICE, "select pg_sleep(60)"))
    await until(admin, f"SELECT bool_or({act}(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    refused = await sleeping
    assert (refused.reason, refused.metadata["sqlstate"]) == (reason, sqlstate)
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


async def test_a_cancelled_query_writes_nothing_and_runs_no_longer(
    backend: SignedClaimsBackend, pool: Pool, admin: asyncpg.Connection
) -> None:
    running = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    write = "with w as (insert into notes values (1, null, 'x')) select pg_sleep(60)"
    sleeping = asyncio.create_task(query(backend, ALICE, write))
    await until(admin, running)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    assert not await admin.fetchval(running)
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0
    assert pool.state.size == 1


async def test_a_select_that_writes_by_a_function_runs_to_its_end_though_the_limit_cuts_it(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
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
    backend: SignedClaimsBackend, admin: asyncpg.Connection
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
async def test_results_of_one_portion_and_of_more_are_whole(backend: SignedClaimsBackend, count: int) -> None:
    result = await query(backend, ALICE, "select n from generate_series(1, $1::int) as n", str(count))
    assert [n for (n,) in rows(result)] == list(range(1, count + 1))
    assert (result.command_tag, result.affected_rows) == (f"SELECT {count}", count)
    sql = "insert into notes select n, null, 'b' from generate_series(1, $1::int) as n returning id"
    inserted = await query(backend, ALICE, sql, str(count))
    assert (inserted.command_tag, inserted.row_count) == (f"INSERT 0 {count}", count)
    await query(backend, ALICE, "delete from notes")
