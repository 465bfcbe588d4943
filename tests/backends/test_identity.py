"""Who sees what, and as whom Postgres sees them."""

from __future__ import annotations

import json
from dataclasses import replace

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.errors import Reason
from sidecar.core.issuer import Scope
from sidecar.core.queries import Backend
from tests.backends.kinds import Stage
from tests.fakes import START
from tests.postgres.scoped import ALICE, CANARY, CAROL, LOGIN, query, refusal, rows, scope


async def test_each_user_sees_what_their_claims_allow(backend: Backend) -> None:
    for who, tenant in ((ALICE, "acme"), (CAROL, "globex"), (ALICE, "acme")):
        assert rows(await query(backend, who, "select tenant_id, id from users")) == [(tenant, who.subject)]
        assert rows(await query(backend, who, "select id from tenants")) == [(tenant,)]


@pytest.mark.parametrize(
    "who",
    [
        scope("nobody", tenant_id="nowhere"),
        scope("nobody", unknown={"deep": [1, 2, None]}),
        Scope(subject="", payload={}),
        Scope(subject="x", payload={"sub": "x", "tenant_id": ["acme"]}),
    ],
)
async def test_claims_that_no_policy_knows_yield_no_rows(backend: Backend, who: Scope) -> None:
    for table in ("users", "tenants"):
        assert (await query(backend, who, f"select * from {table}")).row_count == 0


async def test_a_row_for_the_other_tenant_is_refused(backend: Backend) -> None:
    refused = await refusal(backend, ALICE, "insert into users values ('globex', 'mallory', $1, $1)", CANARY)
    assert refused.reason is Reason.ROW_LEVEL_SECURITY
    assert refused.metadata["sqlstate"] == "42501"
    refused = await refusal(backend, ALICE, "insert into tenants values ('initech', 'Initech')")
    assert refused.reason is Reason.ROW_LEVEL_SECURITY
    # Rows that cannot be seen cannot be changed either, and that is no error.
    assert (await query(backend, ALICE, "update users set name = 'x' where id = 'carol'")).affected_rows == 0
    assert (await query(backend, ALICE, "delete from tenants where id = 'globex'")).affected_rows == 0


async def test_users_may_change_their_own_row(backend: Backend) -> None:
    changed = await query(backend, ALICE, "update users set name = $1 returning name", "Alicia")
    assert rows(changed) == [("Alicia",)]
    assert (changed.command_tag, changed.affected_rows) == ("UPDATE 1", 1)
    await query(backend, ALICE, "update users set name = $1", "Alice Archer")


async def test_who_am_i_is_what_postgres_sees(backend: Backend, stage: Stage) -> None:
    seen = await backend.who_am_i(ALICE)
    assert (seen.role, seen.user_id) == ("authenticated", "alice")
    assert _told(seen.session, stage) == stage.kind.session(ALICE.payload)
    assert seen.row_security_applies
    assert stage.place.admin.endswith(f"/{seen.database}")
    assert seen.server_version >= 140000
    assert seen.claims_age is not None
    assert abs(seen.claims_age - (SystemClock().now() - START)) < 60
    nobody = await backend.who_am_i(Scope(subject="", payload={}))
    assert (nobody.user_id, nobody.claims_age) == (None, None)
    assert _told(nobody.session, stage) == stage.kind.session({})
    assert backend.kind == stage.kind.name


async def test_every_claim_that_can_be_arrives_as_it_is(backend: Backend, stage: Stage) -> None:
    odd = scope(
        "ü\"'\\😀\u2028 \t\n",
        exact=9_007_199_254_740_991,
        fraction=1.5,
        negative=-7,
        deep=[{"a": None, "b": [True, False, {}]}],
        empty="",
        big="x" * 5000,
        **{"a.b-c_d": "named", "null": "null"},
    )
    ((user, session),) = rows(await query(backend, odd, "select auth.user_id(), auth.session()::text"))
    assert user == odd.subject
    assert _told(session, stage) == stage.kind.session(odd.payload)


def _told(session: str | None, stage: Stage) -> dict[str, object]:
    """What auth.session() told, as far as the kind says what it must be."""
    found = json.loads(session or "null")
    if "jti" not in stage.kind.session({"jti": "x"}):
        found.pop("jti", None)
    return found


async def test_a_scope_may_run_as_another_role(
    backend: Backend, stage: Stage, admin: asyncpg.Connection
) -> None:
    role = f"usher_editor_{stage.kind.name}".replace("-", "_")
    editor = replace(ALICE, role=role)
    refused = await refusal(backend, editor, "select 1")
    assert refused.reason is Reason.DATABASE_NOT_INSTALLED
    await admin.execute(f"CREATE ROLE {role} NOLOGIN; GRANT USAGE ON SCHEMA auth TO {role}")
    try:
        await admin.execute(f"GRANT {role} TO {LOGIN}")
        assert rows(await query(backend, editor, "select current_user::text, auth.user_id()")) == [
            (role, "alice")
        ]
        assert (await backend.who_am_i(editor)).role == role
        assert rows(await query(backend, ALICE, "select current_user::text")) == [("authenticated",)]
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
