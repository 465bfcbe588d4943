"""usher.not_revoked() in policies: an entry counts once it is committed, and tells nobody of anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.deny_list import By
from sidecar.core.errors import Reason
from sidecar.core.issuer import Scope
from sidecar.core.revocations import Addition
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.fakes import START
from tests.postgres.scoped import (
    CANARY,
    Place,
    connected,
    key_of,
    query,
    refusal,
    rows,
    running_backend,
    scope,
    set_up,
)

SECRETS = """
CREATE TABLE secrets (owner text, body text);
INSERT INTO secrets VALUES ('alice', 'of alice'), ('carol', 'of carol');
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON secrets TO authenticated;
CREATE POLICY own ON secrets TO authenticated
  USING ((SELECT usher.not_revoked()) AND (SELECT auth.user_id()) = owner);
"""
ALICE = replace(scope("alice", jti="id-1"), kid="key-1")
CAROL = replace(scope("carol", jti="id-2"), kid="key-2")
IAT = int(START)
LOOK = "select body from secrets"
NAMED = {By.JTI: "id-1", By.SUB: "alice", By.KID: "key-1"}


@pytest.fixture
async def own(fresh_database: str) -> Place:
    return await with_secrets(fresh_database)


async def with_secrets(dsn: str) -> Place:
    own = await set_up(dsn)
    async with connected(own.admin) as admin:
        await admin.execute(SECRETS)
    return own


@pytest.fixture
async def store(own: Place) -> AsyncIterator[PostgresRevocations]:
    store = store_of(own)
    yield store
    await store.close()


def store_of(own: Place) -> PostgresRevocations:
    return PostgresRevocations(
        PoolSettings(database_url=own.login), CurrentKey(key_of(own.login)), SystemClock()
    )


@pytest.fixture
async def backend(own: Place) -> AsyncIterator[SignedClaimsBackend]:
    async with running_backend(own.login, max_size=1) as backend:
        yield backend


async def seen(backend: SignedClaimsBackend, who: Scope) -> list[str]:
    return [body for (body,) in rows(await query(backend, who, LOOK))]


async def test_an_entry_hides_the_rows_of_whom_it_names(fresh_database_each_version: str) -> None:
    own = await with_secrets(fresh_database_each_version)
    store = store_of(own)
    try:
        async with running_backend(own.login, max_size=1) as backend:
            for by, value in NAMED.items():
                assert await seen(backend, ALICE) == ["of alice"]
                await store.add(Addition(by=by, value=value, seconds=100))
                # No cache, and no time, between the commit and the next statement.
                assert await seen(backend, ALICE) == []
                assert await seen(backend, CAROL) == ["of carol"]
                # Other tables do not ask, and a policy for writing refuses.
                assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
                refused = await refusal(backend, ALICE, "insert into secrets values ('alice', 'more')")
                assert refused.reason is Reason.ROW_LEVEL_SECURITY
                await store.remove(by, value)
            assert await seen(backend, ALICE) == ["of alice"]
    finally:
        await store.close()


async def test_an_entry_is_over_by_itself(
    backend: SignedClaimsBackend, store: PostgresRevocations, own: Place
) -> None:
    await store.add(Addition(by=By.SUB, value="alice", seconds=100))
    assert await seen(backend, ALICE) == []
    async with connected(own.admin) as admin:
        await admin.execute("UPDATE usher.revocation SET expires_at = now()")
    assert await seen(backend, ALICE) == ["of alice"]


@pytest.mark.parametrize(
    ("iat", "issued_until", "hidden"),
    [
        (IAT, IAT, True),
        (IAT, IAT - 1, False),
        (IAT, IAT + 1, True),
        (IAT + 0.5, IAT, False),
        (None, 5, True),
        (10**30, IAT, False),
    ],
)
async def test_a_user_who_was_signed_out_sees_rows_with_later_tokens(
    backend: SignedClaimsBackend,
    store: PostgresRevocations,
    iat: float | None,
    issued_until: int,
    hidden: bool,
) -> None:
    await store.add(Addition(by=By.SUB, value="alice", issued_until=issued_until, seconds=100))
    who = replace(ALICE, payload={**ALICE.payload, "iat": iat})
    assert await seen(backend, who) == ([] if hidden else ["of alice"])


async def test_whoever_has_no_claims_is_not_let_through(own: Place) -> None:
    async with connected(own.admin) as admin:
        assert await admin.fetchval("SELECT usher.not_revoked()") is False
    async with connected(own.login) as login:
        with pytest.raises(asyncpg.PostgresError, match="no claims are set"):
            await login.fetchval("SELECT usher.not_revoked()")


async def test_a_scope_without_a_token_has_no_key_to_be_revoked(
    backend: SignedClaimsBackend, store: PostgresRevocations
) -> None:
    await store.add(Addition(by=By.KID, value="key-1", seconds=100))
    assert await seen(backend, replace(ALICE, kid=None)) == ["of alice"]


ATTEMPTS = {
    "read the table": "select * from usher.revocation",
    "read it in a function": "select * from"
    " ts_stat('select to_tsvector(''simple'', value) from usher.revocation')",
    "clear it": "delete from usher.revocation",
    "write it": "insert into usher.revocation values ('sub', 'bob', null, now(), now() + interval '1 h')",
    "change it": "update usher.revocation set expires_at = now()",
    "ask without a tag": """select * from usher.revocations('{"do":"list"}', null)""",
    "ask with the claims' tag": 'select * from usher.revocations(\'{"do":"list"}\','
    " current_setting('usher.claim_tag', true))",
    "lift with the claims' tag": "select * from"
    """ usher.revocations('{"do":"lift","kind":"sub","value":"alice"}',"""
    " current_setting('usher.claim_tag', true))",
    "try tags": "select usher.tag_fits('x', 'y')",
}


@pytest.mark.parametrize("role", ["", "none"], ids=["as the role", "as the login"])
@pytest.mark.parametrize("sql", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_a_statement_learns_and_changes_nothing(
    backend: SignedClaimsBackend, store: PostgresRevocations, own: Place, sql: str, role: str
) -> None:
    await store.add(Addition(by=By.SUB, value=CANARY, seconds=100))
    await store.add(Addition(by=By.SUB, value="alice", seconds=100))
    if role:
        async with connected(own.login) as login:
            with pytest.raises(asyncpg.PostgresError) as caught:
                await login.fetch(sql)
            assert caught.value.sqlstate in ("42501", "US001")
            assert CANARY not in str(caught.value)
    else:
        refused = await refusal(backend, CAROL, sql)
        assert refused.reason in (Reason.INSUFFICIENT_PRIVILEGE, Reason.CLAIMS_TAMPERED)
    assert {entry.value for entry in await store.read()} == {CANARY, "alice"}


FORGED = """
with f as materialized (select set_config('request.jwt.claims', $1, true) as done)
select found.body from f cross join lateral (select body from secrets where f.done is not null) as found
"""


@pytest.mark.parametrize("claims", ['{"sub": "alice", "jti": "other"}', "{}", "", "null"])
async def test_a_revoked_user_cannot_take_another_token_for_the_check(
    backend: SignedClaimsBackend, store: PostgresRevocations, claims: str
) -> None:
    await store.add(Addition(by=By.JTI, value="id-1", seconds=100))
    assert (await refusal(backend, ALICE, FORGED, claims)).reason is Reason.CLAIMS_TAMPERED


@pytest.mark.parametrize(
    "setting",
    [
        "search_path = pg_temp",
        "row_security = off",
        "role = none",
        "plan_cache_mode = force_generic_plan",
        "enable_indexscan = off",
        "default_transaction_isolation = serializable",
        "jit = on",
        "debug_parallel_query = on",
        "force_parallel_mode = on",
        "TimeZone = Pacific/Kiritimati",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
    ],
)
async def test_no_setting_of_a_statement_gets_past_it(
    backend: SignedClaimsBackend, store: PostgresRevocations, setting: str
) -> None:
    await store.add(Addition(by=By.KID, value="key-1", seconds=100))
    name, _, value = setting.partition(" = ")
    # A version that does not know the name makes of it one of the application's, or refuses it.
    sql = (
        f"with f as materialized (select set_config('{name}', '{value}', true) as done)"
        " select found.body from f"
        " cross join lateral (select body from secrets where f.done is not null) as found"
    )
    try:
        found = rows(await query(backend, ALICE, sql))
    except Exception as error:
        assert getattr(error, "reason", None) in (  # noqa: PT017
            Reason.CLAIMS_TAMPERED,
            Reason.INSUFFICIENT_PRIVILEGE,
            Reason.UNDEFINED_OBJECT,
            Reason.DATA_EXCEPTION,
            Reason.STATEMENT_INVALID,
        )
        found = []
    assert found == []
    assert await seen(backend, CAROL) == ["of carol"]


async def test_a_plan_made_before_the_entry_does_not_outlive_it(
    own: Place, backend: SignedClaimsBackend, store: PostgresRevocations
) -> None:
    async with connected(own.admin) as admin:
        await admin.execute(
            "CREATE FUNCTION own_secret() RETURNS text LANGUAGE plpgsql STABLE AS"
            " $f$ BEGIN RETURN (SELECT body FROM secrets); END $f$"
        )
    look = "select own_secret()"
    for _ in range(7):  # plans become generic after five
        assert rows(await query(backend, ALICE, look)) == [("of alice",)]
    await store.add(Addition(by=By.SUB, value="alice", seconds=100))
    assert rows(await query(backend, ALICE, look)) == [(None,)]
