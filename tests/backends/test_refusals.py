"""What Postgres refuses in a scope has a reason, and shows no values."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.queries import Backend
from sidecar.core.values import ResultSet
from tests.backends.kinds import Stage
from tests.postgres.scoped import ALICE, CANARY, query, refusal, rows, statement

REFUSED: list[tuple[str, tuple[Any, ...], Reason]] = [
    ("select 1; select 2", (), Reason.MULTIPLE_STATEMENTS),
    ("select 1; drop table notes", (), Reason.MULTIPLE_STATEMENTS),
    (f"select from where '{CANARY}'", (), Reason.SQL_SYNTAX),
    ("select nosuchfunction($1)", (CANARY,), Reason.UNDEFINED_OBJECT),
    ("select * from nosuchtable where x = $1", (CANARY,), Reason.UNDEFINED_OBJECT),
    (f"select nosuchcolumn from users where name = '{CANARY}'", (), Reason.UNDEFINED_OBJECT),
    ("select $1::nosuchtype", (CANARY,), Reason.UNDEFINED_OBJECT),
    ("select 1 from nosuchschema.users", (), Reason.UNDEFINED_OBJECT),
    ("select $1", (), Reason.PARAMETER_COUNT),
    ("select 1", (CANARY,), Reason.PARAMETER_COUNT),
    ("select $1::int", (CANARY,), Reason.PARAMETER_TYPE),
    ("select $2::int", (CANARY, 1), Reason.PARAMETER_TYPE),
    ("select $1 + $2", (1, 2), Reason.STATEMENT_INVALID),
    (f"select '{CANARY}'::int", (), Reason.DATA_EXCEPTION),
    ("select 1 / $1::int", (0,), Reason.DATA_EXCEPTION),
    ("select * from hidden where secret = $1", (CANARY,), Reason.INSUFFICIENT_PRIVILEGE),
    ("select pg_read_file($1)", (CANARY,), Reason.INSUFFICIENT_PRIVILEGE),
    ("insert into notes values (1, null, null)", (), Reason.NOT_NULL_VIOLATION),
    ("insert into notes values (1, null, repeat($1, 99))", (CANARY,), Reason.CHECK_VIOLATION),
    ("insert into notes values (1, null, $1), (1, null, $1)", (CANARY,), Reason.UNIQUE_VIOLATION),
    ("select count(*) from users group by $1::int / 0", (1,), Reason.DATA_EXCEPTION),
    ("select lastval()", (), Reason.STATEMENT_INVALID),
    ("select set_config('client_encoding', 'LATIN1', true), 'ü' || $1", (CANARY,), Reason.DATA_EXCEPTION),
    ("select refuse($1, 'P0001')", (CANARY,), Reason.RAISED_BY_DATABASE),
    ("select refuse($1, '02000')", (CANARY,), Reason.RAISED_BY_DATABASE),
    ("select refuse($1, '08006')", (CANARY,), Reason.RAISED_BY_DATABASE),
    ("select refuse($1, '57014')", (CANARY,), Reason.RAISED_BY_DATABASE),
    ("select refuse($1, 'UX042')", (CANARY,), Reason.RAISED_BY_DATABASE),
    ("select refuse($1, '40001')", (CANARY,), Reason.SERIALIZATION_FAILURE),
    ("select refuse($1, '23505')", (CANARY,), Reason.UNIQUE_VIOLATION),
]
REFUSE = """
CREATE OR REPLACE FUNCTION refuse(told text, state text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING MESSAGE = told, DETAIL = told, HINT = told, ERRCODE = state; END $$
"""


@pytest.mark.parametrize(("sql", "values", "reason"), REFUSED, ids=[sql for sql, _, _ in REFUSED])
async def test_what_postgres_refuses_has_a_reason_and_no_values(
    backend: Backend,
    admin: asyncpg.Connection,
    sql: str,
    values: tuple[Any, ...],
    reason: Reason,
) -> None:
    if "refuse(" in sql:
        await admin.execute(REFUSE)
    refused = await refusal(backend, ALICE, sql, *values)
    assert refused.reason is reason
    assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_lock_that_cannot_be_had(backend: Backend, admin: asyncpg.Connection) -> None:
    async with admin.transaction():
        await admin.execute("SELECT FROM users FOR UPDATE")
        refused = await refusal(backend, ALICE, "select id from users for update nowait")
    assert refused.reason is Reason.LOCK_NOT_AVAILABLE
    assert refused.retryable


async def test_the_operator_may_see_postgres_messages(stage: Stage) -> None:
    async with stage.open(show_messages=True) as backend:
        with pytest.raises(UsherError, match=CANARY):
            await query(backend, ALICE, f"select '{CANARY}'::int")


async def test_a_fault_of_ours_is_not_dressed_up(backend: Backend) -> None:
    def fail(result: ResultSet) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await backend.run(ALICE, statement("select 1"), fail)
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]
