"""What is written, and when not."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.queries import Backend
from sidecar.core.values import ResultSet
from tests.postgres.scoped import ALICE, CANARY, query, refusal, rows, statement

INSERT = "insert into notes select n, null, 'b' from generate_series(1, 50) as n returning id"


async def test_a_result_that_cannot_be_delivered_leaves_nothing_written(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    def refuse(result: ResultSet) -> None:
        sealed.append(result.row_count)
        raise UsherError(Reason.RESULT_TOO_LARGE, "too large")

    sealed: list[int] = []
    try:
        with pytest.raises(UsherError) as refused:
            await backend.run(ALICE, statement(INSERT), refuse)
        assert refused.value.reason is Reason.RESULT_TOO_LARGE
        assert sealed == [50]
        await query(backend, ALICE, "select 1")  # on the same connection, so the other has ended
        assert await admin.fetchval("SELECT count(*) FROM notes") == 0
    finally:
        await admin.execute("DELETE FROM notes")


async def test_the_sealed_form_is_given_back(backend: Backend) -> None:
    sealed, result = await backend.run(ALICE, statement("select 1"), lambda result: result.command_tag)
    assert (sealed, result.command_tag) == ("SELECT 1", "SELECT 1")


async def test_a_constraint_that_fails_at_the_commit_is_an_error(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    refused = await refusal(backend, ALICE, "insert into notes values (1, 2, $1)", CANARY)
    assert refused.reason is Reason.FOREIGN_KEY_VIOLATION
    assert refused.metadata["constraint"] == "notes_parent_fkey"
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_connection_lost_during_the_commit_leaves_the_outcome_open(
    backend: Backend, admin: asyncpg.Connection
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


async def test_read_only_is_kept(backend: Backend, admin: asyncpg.Connection) -> None:
    write = "insert into notes values (1, null, 'x')"
    for sql in (write, f"with w as ({write} returning 1) select * from w", "select nextval('pool_numbers')"):
        assert (await refusal(backend, ALICE, sql, read_only=True)).reason is Reason.READ_ONLY
    escape = "select set_config('transaction_read_only', 'off', true)"
    assert (await refusal(backend, ALICE, escape, read_only=True)).reason is Reason.STATEMENT_INVALID
    assert rows(await query(backend, ALICE, "select id from users", read_only=True)) == [("alice",)]
