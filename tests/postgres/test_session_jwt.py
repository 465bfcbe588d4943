"""The backend by tokens, where it differs from the others; tests/backends has all that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from sidecar.core.errors import Reason
from sidecar.core.issuer import Scope
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.session_jwt import SessionJwtBackend
from sidecar.postgres.session_keys import session_key
from tests.fakes import START, FakeClock
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    LOGIN,
    Place,
    connected,
    query,
    refusal,
    rows,
    running_pool,
    scope,
    set_up,
)
from tests.servers import Servers
from tests.session_jwt import extension
from tests.session_jwt.extension import REAL

TOKENS = ClaimSettings(shared_login=True, identity=Identity.SESSION_JWT)
TOKEN = "current_setting('pg_session_jwt.jwt')"


@pytest.fixture(scope="module")
def token_place(postgres_servers: Servers) -> Iterator[Place]:
    """A database with the extension and the demo: leave it as it was."""
    with extension.database(postgres_servers) as dsn:
        place = asyncio.run(set_up(dsn, first=extension.create))
        postgres_servers.execute(dsn, "GRANT USAGE ON SCHEMA auth TO authenticated")
        yield place


@pytest.fixture
async def token_pool(token_place: Place) -> AsyncIterator[Pool]:
    """A pool with one connection."""
    async with running_pool(token_place.login, settings=TOKENS, keyed=True, max_size=1) as pool:
        yield pool


@pytest.fixture
def backend(token_pool: Pool) -> SessionJwtBackend:
    return SessionJwtBackend(token_pool, TOKENS)


async def test_identity_ends_with_the_transaction(backend: SessionJwtBackend, token_pool: Pool) -> None:
    """Before anything is scrubbed, and however it ends."""
    for end in ("COMMIT", "ROLLBACK"):
        async with token_pool.lease() as connection:
            await backend.enter(connection, ALICE, 7.5, read_only=False)
            look = "SELECT current_user::text, current_setting('statement_timeout')"
            assert tuple(await connection.fetchrow(look)) == ("authenticated", "7500ms")
            assert await connection.fetchval("SELECT auth.user_id()") == "alice"
            await connection.execute(end)
            assert tuple(await connection.fetchrow(look)) == (LOGIN, "0")
            await connection.execute("SET ROLE authenticated")
            assert await connection.fetchval("SELECT auth.user_id()") is None


async def test_the_same_users_token_of_before_is_worth_nothing(backend: SessionJwtBackend) -> None:
    """Her claims may be fewer now."""
    powerful = scope("alice", tenant_id="acme", admin=True)
    ((token,),) = rows(await query(backend, powerful, f"select {TOKEN}"))
    again = (
        "with f as materialized (select set_config('pg_session_jwt.jwt', $1, true) as done)"
        " select auth.session() ->> 'admin' from f where done is not null"
    )
    refused = await refusal(backend, ALICE, again, token)
    assert refused.metadata["sqlstate"] == "23514"
    for _ in range(2):  # her own of now may be set as often as she likes
        keep = f"select set_config('pg_session_jwt.jwt', {TOKEN}, true) is not null, auth.user_id()"
        assert rows(await query(backend, ALICE, keep)) == [(True, "alice")]


async def test_a_statement_can_lose_its_identity_and_no_more(backend: SessionJwtBackend) -> None:
    lose = (
        "with f as materialized (select set_config('pg_session_jwt.jwt', null, true) is null as done)"
        " select auth.user_id(), auth.session()::text from f where done is not null"
    )
    assert rows(await query(backend, ALICE, lose)) == [(None, "null")]
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]


async def test_each_request_has_a_token_of_its_own(backend: SessionJwtBackend) -> None:
    look = f"select {TOKEN}, auth.session() ->> 'jti' from users"
    found = [rows(await query(backend, ALICE, look))[0] for _ in range(3)]
    assert len({token for token, _ in found}) == 3
    numbers = [int(number) for _, number in found]
    assert numbers == sorted(set(numbers))


async def test_claims_that_expired_while_the_request_waited_are_refused(token_place: Place) -> None:
    clock = FakeClock()
    async with running_pool(token_place.login, settings=TOKENS, keyed=True, clock=clock) as pool:
        backend = SessionJwtBackend(pool, TOKENS)
        briefly = scope("alice", tenant_id="acme", exp=int(START) + 10)
        assert rows(await query(backend, briefly, "select auth.user_id()")) == [("alice",)]
        await clock.advance(10)
        refused = await refusal(backend, briefly, "select auth.user_id()")
        assert (refused.reason, refused.metadata["field"]) == (Reason.TOKEN_EXPIRED, "scope.token")
        assert rows(await query(backend, ALICE, "select auth.user_id()")) == [("alice",)]


@pytest.mark.parametrize("times", [{"nbf": 600}, {"exp": -600}])
async def test_clocks_that_do_not_agree_are_said(backend: SessionJwtBackend, times: dict[str, int]) -> None:
    """The sidecar's clock makes these claims good; the database's is elsewhere."""
    ahead = {name: int(time.time()) + offset for name, offset in times.items()}
    backend._pool.clock = FakeClock(now=time.time() - 3600)
    refused = await refusal(backend, Scope(subject="x", payload={"sub": "x"} | ahead), "select 1")
    assert refused.reason is Reason.DATABASE_NOT_INSTALLED
    assert "compare the clocks" in refused.message
    assert rows(await query(backend, ALICE, "select auth.user_id()")) == [("alice",)]


async def test_a_session_that_is_not_ready_for_tokens_is_refused(
    backend: SessionJwtBackend, token_pool: Pool
) -> None:
    async with token_pool.lease() as connection:
        key = session_key(connection)
        assert key is not None
        key.believed = False
    refused = await refusal(backend, ALICE, "select 1")
    assert (refused.reason, "not installed" in refused.message) == (Reason.DATABASE_NOT_INSTALLED, True)


async def test_a_role_that_may_not_use_the_schema_is_told(
    backend: SessionJwtBackend, token_place: Place
) -> None:
    async with connected(token_place.admin) as admin:
        await admin.execute("REVOKE USAGE ON SCHEMA auth FROM authenticated")
        try:
            refused = await refusal(backend, ALICE, "select 1")
        finally:
            await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
    assert refused.reason is Reason.DATABASE_NOT_INSTALLED
    assert "GRANT USAGE ON SCHEMA auth TO authenticated" in refused.message


LIAR = """
CREATE OR REPLACE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE STRICT AS
  $$SELECT '{"sub":"alice","jti":0}'::jsonb$$
"""


@pytest.mark.skipif(bool(REAL), reason="it would have to be made anew")
async def test_functions_that_do_not_know_the_token_are_found_out(
    backend: SessionJwtBackend, token_place: Place
) -> None:
    async with connected(token_place.admin) as admin:
        definition = await admin.fetchval("SELECT pg_get_functiondef('auth.session()'::regprocedure)")
        await admin.execute(LIAR)
        try:
            refused = await refusal(backend, ALICE, "select 1")
        finally:
            await admin.execute(definition)
    assert refused.reason is Reason.DATABASE_NOT_INSTALLED
    assert "does not tell the claims" in refused.message


async def test_many_sessions_have_a_key_each(token_place: Place) -> None:
    async with (
        running_pool(token_place.login, settings=TOKENS, keyed=True, max_size=3) as pool,
        pool.lease() as one,
        pool.lease() as two,
        pool.lease() as three,
    ):
        keys = [session_key(session) for session in (one, two, three)]
        assert len({key.option for key in keys if key is not None}) == 3
