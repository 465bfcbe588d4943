"""The backend on the double: what the suite for all backends leaves open. See tests/backends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import DatabaseStateChanged
from sidecar.core.values import ResultSet
from tests.neon import standing as neon
from tests.neon.standing import Standing
from tests.postgres.scoped import ALICE, PATIENCE, connected, query, refusal, rows, statement, until

INSERT = "insert into notes select n, null, repeat('x', 90) from generate_series(1, 50) as n returning body"


async def test_a_result_that_cannot_be_delivered_was_written_and_says_so(
    there: Standing, neon_database: str
) -> None:
    def refuse(result: ResultSet) -> None:
        raise UsherError(Reason.RESULT_TOO_LARGE, "too large")

    async with connected(neon_database) as admin:
        with pytest.raises(UsherError) as refused:
            await there.backend.run(ALICE, statement(INSERT), refuse)
        assert await admin.fetchval("WITH d AS (DELETE FROM notes RETURNING 1) SELECT count(*) FROM d") == 50
        assert (refused.value.reason, refused.value.retryable) == (Reason.RESULT_TOO_LARGE, False)
        assert refused.value.metadata["committed"] == "true"
        assert "was committed" in refused.value.message
        with pytest.raises(UsherError) as read:
            await there.backend.run(ALICE, statement("select 1", read_only=True), refuse)
        assert "committed" not in read.value.metadata


async def test_a_write_beyond_the_limit_of_bytes(neon_database: str) -> None:
    async with (
        neon.standing(neon_database, max_result_bytes=1000) as there,
        connected(neon_database) as admin,
    ):
        refused = await refusal(there.backend, ALICE, INSERT)
        assert (refused.reason, refused.metadata) == (
            Reason.RESULT_TOO_LARGE,
            {"limit": "1000", "committed": "true"},
        )
        assert await admin.fetchval("WITH d AS (DELETE FROM notes RETURNING 1) SELECT count(*) FROM d") == 50
        # Beyond Neon's own limit it rolls back.
        huge = INSERT.replace("returning body", "returning repeat('x', 5000000)")
        refused = await refusal(there.backend, ALICE, huge)
        assert (refused.reason, refused.metadata) == (Reason.RESULT_TOO_LARGE, {"limit": str(10 * 1024**2)})
        assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_role_logs_in_itself(there: Standing) -> None:
    anonymous = replace(ALICE, role="anonymous")
    assert rows(
        await query(there.backend, anonymous, "select current_user::text, session_user::text, auth.user_id()")
    ) == [("anonymous", "anonymous", "alice")]
    assert (
        await refusal(there.backend, anonymous, "select * from users")
    ).reason is Reason.INSUFFICIENT_PRIVILEGE
    unknown = await refusal(there.backend, replace(ALICE, role="postgres"), "select 1")
    assert unknown.reason is Reason.DATABASE_NOT_INSTALLED
    assert "the roles it is for" in unknown.message


async def test_a_token_that_neon_refuses(neon_database: str) -> None:
    async with neon.standing(neon_database, audience="project", ready=False) as there:
        await there.observed.until(lambda: bool(there.observed.of(DatabaseStateChanged)))
        assert "neon_audience" in (there.watch.trouble or "")
    async with neon.standing(neon_database, audience="project", neon_audience="project") as there:
        assert rows(await query(there.backend, ALICE, "select auth.session() ->> 'aud'")) == [("project",)]


async def test_a_text_form_that_a_statement_changed_is_refused(there: Standing) -> None:
    for setting, value, expression in (
        ("DateStyle", "German", "date '2030-12-31'"),
        ("IntervalStyle", "sql_standard", "interval '1 year 2 days'"),
        ("bytea_output", "escape", "'abc'::bytea"),
    ):
        sql = f"select set_config('{setting}', '{value}', true), {expression} from generate_series(1, 2)"
        assert (await refusal(there.backend, ALICE, sql)).reason is Reason.DATA_EXCEPTION
        plain = await query(there.backend, ALICE, f"select {expression}")
        assert plain.row_count == 1


async def test_many_at_once_on_few_sessions(neon_database: str) -> None:
    async with neon.standing(neon_database, sessions=3, concurrency=8) as there:
        asked = [
            there.backend.run(ALICE, statement(f"select {n}"), lambda result: result.data[0][0])
            for n in range(50)
        ]
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*asked)
        assert [value for value, _ in answers] == list(range(50))
        assert there.exchange.counts == (0, 0)


async def test_a_statement_that_nobody_waits_for_ends_in_postgres(
    there: Standing, neon_database: str
) -> None:
    running = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with connected(neon_database) as admin:
        waiting = asyncio.create_task(query(there.backend, ALICE, "select pg_sleep(60)"))
        await until(admin, f"SELECT count(*) = 1 {running}")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(admin, f"SELECT count(*) = 0 {running}")


async def test_the_same_on_postgres_15_which_tells_no_types_of_columns(neon_database_15: str) -> None:
    async with neon.standing(neon_database_15) as there, connected(neon_database_15) as admin:
        sql = "select $1::int8, id, '{1,NULL}'::int[] from users"
        assert rows(await query(there.backend, ALICE, sql, "7")) == [(7, "alice", [1, None])]
        await admin.execute("CREATE TYPE mood AS ENUM ('happy')")
        result = await query(there.backend, ALICE, "select 'happy'::mood, '{happy}'::mood[]")
        assert rows(result) == [("happy", "{happy}")]
        assert [column.type_name for column in result.columns] == ["unknown", "unknown"]
