"""What Postgres refuses in a scope has a reason, and shows no values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import ResultSet
from sidecar.postgres.signed_claims import ClaimSettings, SignedClaimsBackend
from tests.postgres.scoped import (
    ALICE,
    CANARY,
    LOGIN,
    Place,
    connected,
    query,
    refusal,
    rows,
    running_backend,
    statement,
)

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
    backend: SignedClaimsBackend,
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


async def test_a_lock_that_cannot_be_had(backend: SignedClaimsBackend, admin: asyncpg.Connection) -> None:
    async with admin.transaction():
        await admin.execute("SELECT FROM users FOR UPDATE")
        refused = await refusal(backend, ALICE, "select id from users for update nowait")
    assert refused.reason is Reason.LOCK_NOT_AVAILABLE
    assert refused.retryable


async def test_the_operator_may_see_postgres_messages(place: Place) -> None:
    settings = ClaimSettings(show_database_messages=True, shared_login=True)
    async with running_backend(place.login, settings=settings) as backend:
        with pytest.raises(UsherError, match=CANARY):
            await query(backend, ALICE, f"select '{CANARY}'::int")


async def test_a_scope_may_run_as_another_role_that_the_login_may_become(own_place: Place) -> None:
    editor = replace(ALICE, role="usher_test_editor")
    async with running_backend(own_place.login) as backend, connected(own_place.admin) as admin:
        refused = await refusal(backend, editor, "select 1")
        assert refused.reason is Reason.DATABASE_NOT_INSTALLED
        assert "usher_test_editor" in refused.message
        await admin.execute("CREATE ROLE usher_test_editor NOLOGIN; GRANT USAGE ON SCHEMA auth TO PUBLIC")
        try:
            assert (await refusal(backend, editor, "select 1")).reason is Reason.DATABASE_NOT_INSTALLED
            await admin.execute(f"GRANT usher_test_editor TO {LOGIN}")
            assert rows(await query(backend, editor, "select current_user::text")) == [("usher_test_editor",)]
            assert (await backend.who_am_i(editor)).role == "usher_test_editor"
            assert rows(await query(backend, ALICE, "select current_user::text")) == [("authenticated",)]
        finally:
            await admin.execute("DROP OWNED BY usher_test_editor; DROP ROLE usher_test_editor")


async def test_a_role_lost_while_serving_is_the_databases_fault(own_place: Place) -> None:
    async with running_backend(own_place.login) as backend, connected(own_place.admin) as admin:
        await query(backend, ALICE, "select 1")
        await admin.execute(f"REVOKE authenticated FROM {LOGIN}")
        try:
            refused = await refusal(backend, ALICE, "select 1")
        finally:
            await admin.execute(f"GRANT authenticated TO {LOGIN}")
        assert refused.reason is Reason.DATABASE_NOT_INSTALLED


async def test_a_fault_of_ours_is_not_dressed_up(backend: SignedClaimsBackend) -> None:
    def fail(result: ResultSet) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await backend.run(ALICE, statement("select 1"), fail)
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]
