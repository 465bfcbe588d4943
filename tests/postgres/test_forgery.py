"""Claims that no SQL can forge: what a statement may try on its own scope, and what comes of it."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.issuer import Scope
from sidecar.postgres import installer
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    KEYS,
    Place,
    connected,
    database_of,
    make_key,
    query,
    refusal,
    rows,
    running_backend,
    set_up,
)

AS_CAROL = """set_config('request.jwt.claims', '{"sub": "carol", "tenant_id": "globex"}', true)"""
FOR_THE_SESSION = """set_config('request.jwt.claims', '{"sub": "carol"}', false)"""
NO_CLAIMS = "set_config('request.jwt.claims', '', true)"
NO_TAG = "set_config('usher.claim_tag', '', true)"
NO_ROLE = "set_config('role', 'none', true)"


def then_look(*changes: str, look: str = "select id from users") -> str:
    """A statement that makes the changes first: the materialized part is needed by what follows."""
    together = " || ".join(changes)
    return (
        f"with f as materialized (select {together} as done)"
        f" select found.* from f cross join lateral ({look} where f.done is not null) as found"
    )


FORGERIES = {
    "in a CTE": then_look(AS_CAROL),
    "in the select list": f"select {AS_CAROL}, (select string_agg(id, ',') from users)",
    "before a write": f"with f as materialized (select {AS_CAROL} as c)"
    " insert into users select 'globex', 'm', f.c, 'm' from f",
    "for the session": then_look(FOR_THE_SESSION),
    "emptied": then_look(NO_CLAIMS, NO_TAG),
    "without a tag": then_look(AS_CAROL, NO_TAG),
    "under another role": then_look(NO_ROLE, look="select auth.user_id()"),
}


@pytest.mark.parametrize("sql", FORGERIES.values(), ids=FORGERIES)
async def test_a_statement_cannot_become_another_user(backend: SignedClaimsBackend, sql: str) -> None:
    refused = await refusal(backend, ALICE, sql)
    assert refused.reason is Reason.CLAIMS_TAMPERED
    assert rows(await query(backend, CAROL, "select id from users")) == [("carol",)]


async def test_claims_and_tag_of_one_transaction_are_worth_nothing_in_the_next(
    backend: SignedClaimsBackend,
) -> None:
    """Even on the same backend, which this pool of one connection makes sure of."""
    (claims, tag), *_ = rows(
        await query(
            backend,
            CAROL,
            "select current_setting('request.jwt.claims'), current_setting('usher.claim_tag')",
        )
    )
    replay = (
        "with f as materialized (select set_config('request.jwt.claims', $1, true) c,"
        " set_config('usher.claim_tag', $2, true) d) select u.id from f, users u"
        " where f.c is not null and f.d is not null"
    )
    assert (await refusal(backend, ALICE, replay, claims, tag)).reason is Reason.CLAIMS_TAMPERED


async def test_the_keys_cannot_be_read_or_made(backend: SignedClaimsBackend) -> None:
    for sql in (
        "select * from usher.claim_key",
        "select usher.new_claim_key()",
        "delete from usher.claim_key",
    ):
        assert (await refusal(backend, ALICE, sql)).reason is Reason.INSUFFICIENT_PRIVILEGE


async def test_hostile_objects_do_not_lead_the_check_astray(backend: SignedClaimsBackend) -> None:
    hostile = (
        "with f as materialized (select set_config('search_path', 'pg_temp, public', true) c)"
        " select auth.user_id() from f where f.c is not null"
    )
    assert rows(await query(backend, ALICE, hostile)) == [("alice",)]


async def test_keys_are_replaced_while_sidecars_run(own_place: Place) -> None:
    old = KEYS[database_of(own_place.admin)]
    async with connected(own_place.admin) as admin, running_backend(own_place.login, max_size=1) as backend:
        new = await make_key(admin, own_place.admin)
        assert [key_id for key_id, _ in await installer.keys(admin)] == [old.id, new.id]
        async with running_backend(own_place.login, max_size=1) as newer:
            for one in (backend, newer):
                assert rows(await query(one, ALICE, "select id from users")) == [("alice",)]
            assert await installer.remove_key(admin, old.id)
            assert not await installer.remove_key(admin, old.id)
            assert rows(await query(newer, ALICE, "select id from users")) == [("alice",)]
            refused = await refusal(backend, ALICE, "select id from users")
            assert (refused.reason, "claim_key" in refused.message) == (Reason.DATABASE_NOT_INSTALLED, True)


async def test_the_database_agrees_with_every_claim_that_can_be(backend: SignedClaimsBackend) -> None:
    odd = Scope(
        subject="ü\"'\\😀", payload={"sub": "ü\"'\\😀", "n": 1.5, "deep": [{"a": None}], "big": "x" * 5000}
    )
    assert rows(await query(backend, odd, "select auth.user_id()")) == [("ü\"'\\😀",)]


async def test_every_version_signs_upgrades_and_goes_back(fresh_database_each_version: str) -> None:
    dsn = fresh_database_each_version
    definitions = (
        "SELECT array_agg(pg_get_functiondef(oid) ORDER BY proname) FROM pg_proc"
        " WHERE pronamespace = to_regnamespace('auth')"
    )
    async with connected(dsn) as admin:
        await installer.install(admin, up_to=1)
        first = await admin.fetchval(definitions)
        assert [script.version for script in await installer.install(admin, up_to=2)] == [2]
        signed = await admin.fetchval(definitions)
        assert signed != first
        down = next(script.down for script in installer.scripts() if script.version == 2)
        async with admin.transaction():
            await admin.execute(down)
            await admin.execute("DELETE FROM usher.schema_version WHERE version = 2")
        assert await admin.fetchval(definitions) == first
        await installer.install(admin)
        assert await admin.fetchval(definitions) == signed
    place = await set_up(dsn)
    async with running_backend(place.login) as backend:
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        for sql in FORGERIES.values():
            assert (await refusal(backend, ALICE, sql)).reason is Reason.CLAIMS_TAMPERED


async def test_sessions_that_are_not_the_sidecars_see_no_claims(own_place: Place) -> None:
    """A migration or an administrator is not hindered, and cannot pretend either."""
    async with connected(own_place.admin) as admin:
        assert await admin.fetchval("SELECT auth.session()::text") == "null"
        await admin.execute('SET request.jwt.claims = \'{"sub":"alice"}\'')
        with pytest.raises(asyncpg.PostgresError, match="not those of this transaction"):
            await admin.fetchval("SELECT auth.user_id()")
