"""Which backend a database is served by, and what happens while that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.events import DatabaseStateChanged
from sidecar.postgres import installer
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.detection import DetectedBackend
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from tests.fakes import FakeClock
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    LOGIN,
    MORE_TABLES,
    Place,
    Watcher,
    connected,
    key_of,
    query,
    refusal,
    rows,
    running_backend,
    running_pool,
    set_up,
)
from tests.session_jwt import extension

AUTO = ClaimSettings(shared_login=True)
GONE = "DROP TABLE users, tenants, notes, hidden; DROP SEQUENCE pool_numbers"
FORGED = """set_config('request.jwt.claims', '{"sub": "carol", "tenant_id": "globex"}', true)"""


@pytest.fixture
def changing(extensible: str) -> Place:
    """A database for one test, without the extension at first."""
    return asyncio.run(set_up(extensible))


async def bring_extension(admin: asyncpg.Connection) -> None:
    """What an operator does who moves a database to the extension, and keeps the claim keys."""
    await admin.execute(GONE)
    keys = await admin.fetch("SELECT id, inner_pad, outer_pad FROM usher.claim_key")
    await installer.uninstall(admin)
    await extension.create(admin)
    await installer.install(admin, LOGIN)
    await admin.executemany(
        "INSERT INTO usher.claim_key (id, inner_pad, outer_pad) VALUES ($1, $2, $3)", map(tuple, keys)
    )
    await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
    await admin.execute(installer.demo_script() + MORE_TABLES)


async def drop_extension(admin: asyncpg.Connection) -> None:
    """The other way."""
    await admin.execute(f"{GONE}; DROP EXTENSION pg_session_jwt CASCADE")
    await installer.install(admin, LOGIN)
    await admin.execute(installer.demo_script() + MORE_TABLES)


@asynccontextmanager
async def served(
    place: Place, clock: FakeClock, watcher: Watcher, settings: ClaimSettings = AUTO, **options: Any
) -> AsyncIterator[DetectedBackend]:
    async with running_pool(
        place.login, clock=clock, observer=watcher, settings=settings, keyed=True, **options
    ) as pool:
        yield DetectedBackend(pool, settings, CurrentKey(key_of(place.admin)))


async def changed(clock: FakeClock, watcher: Watcher, seconds: float, *, reachable: bool) -> None:
    """Lets the pool look again, until it has told what it found."""
    before = len(watcher.of(DatabaseStateChanged))
    await clock.advance(seconds)
    await watcher.until(lambda: len(watcher.of(DatabaseStateChanged)) > before)
    assert watcher.of(DatabaseStateChanged)[-1].reachable is reachable


async def test_the_extension_may_come_and_go_while_the_sidecar_runs(changing: Place) -> None:
    clock, watcher = FakeClock(), Watcher()
    async with served(changing, clock, watcher, min_size=2) as backend, connected(changing.admin) as admin:
        assert backend.kind == "auto"
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        assert backend.kind == "postgres"

        await bring_extension(admin)
        # Sessions from before: the extension has their keys from their start, and nobody made a token.
        forge = f"with f as materialized (select {FORGED} as c) select id from f, users where c is not null"
        key = '{"kty":"OKP","crv":"Ed25519","x":"' + "A" * 43 + '"}'
        for sql in (
            "select id from users",
            forge,
            f"select id from users where set_config('pg_session_jwt.jwk', '{key}', true) is not null",
        ):
            assert rows(await query(backend, ALICE, sql)) == []
        await changed(clock, watcher, 5, reachable=False)
        assert "was installed meanwhile" in watcher.of(DatabaseStateChanged)[-1].detail
        assert (await refusal(backend, ALICE, "select 1")).reason is Reason.DATABASE_NOT_INSTALLED
        await changed(clock, watcher, 0.5, reachable=True)
        for who in (ALICE, CAROL):
            assert rows(await query(backend, who, "select id from users")) == [(who.subject,)]
        assert (backend.kind, (await backend.who_am_i(ALICE)).user_id) == ("pg_session_jwt", "alice")

        await drop_extension(admin)
        refused = await refusal(backend, ALICE, "select id from users")
        assert refused.reason is Reason.DATABASE_NOT_INSTALLED
        await changed(clock, watcher, 5, reachable=False)
        assert "was dropped meanwhile" in watcher.of(DatabaseStateChanged)[-1].detail
        await changed(clock, watcher, 0.5, reachable=True)
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        assert backend.kind == "postgres"
        assert await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()", LOGIN
        )


async def test_a_session_in_use_while_the_extension_comes_is_not_lent_again(changing: Place) -> None:
    clock, watcher = FakeClock(), Watcher()
    async with served(changing, clock, watcher, max_size=2) as backend, connected(changing.admin) as admin:
        pool = backend._pool
        async with pool.lease() as held:
            await bring_extension(admin)
            await changed(clock, watcher, 5, reachable=False)
            old = held.get_server_pid()
        await asyncio.gather(*pool._returning)  # a pool that is busy is not looked at
        await changed(clock, watcher, 0.5, reachable=True)
        async with pool.lease() as one, pool.lease() as two:
            assert old not in (one.get_server_pid(), two.get_server_pid())


async def test_who_asks_for_tokens_is_served_once_the_extension_is_there(changing: Place) -> None:
    clock, watcher = FakeClock(), Watcher()
    settings = ClaimSettings(shared_login=True, identity=Identity.SESSION_JWT)
    async with (
        served(changing, clock, watcher, settings, ready=False) as backend,
        connected(changing.admin) as admin,
    ):
        await watcher.until(lambda: "CREATE EXTENSION pg_session_jwt" in (backend._pool.trouble or ""))
        assert (await refusal(backend, ALICE, "select 1")).reason is Reason.DATABASE_NOT_INSTALLED
        await bring_extension(admin)
        await changed(clock, watcher, 0.5, reachable=False)
        await changed(clock, watcher, 1, reachable=True)
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        assert backend.kind == "pg_session_jwt"


async def test_a_key_that_is_not_taken_is_said_until_it_is(changing: Place) -> None:
    clock, watcher = FakeClock(), Watcher()
    async with connected(changing.admin) as admin:
        await bring_extension(admin)
        await admin.execute("REVOKE USAGE ON SCHEMA auth FROM authenticated")
        async with served(changing, clock, watcher, ready=False) as backend:
            await watcher.until(lambda: "GRANT USAGE ON SCHEMA auth" in (backend._pool.trouble or ""))
            assert (await refusal(backend, ALICE, "select 1")).reason is Reason.DATABASE_NOT_INSTALLED
            await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
            await changed(clock, watcher, 0.5, reachable=True)
            assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]


async def test_sessions_of_a_pooler_are_not_for_the_extension(changing: Place) -> None:
    """They have no keys: see PoolSettings.own_sessions."""
    async with connected(changing.admin) as admin:
        await bring_extension(admin)
    watcher = Watcher()
    async with running_pool(changing.login, observer=watcher, ready=False) as pool:
        await watcher.until(lambda: "-pooler" in (pool.trouble or ""))


async def test_signed_claims_are_not_for_the_extension_unless_that_is_accepted(changing: Place) -> None:
    async with connected(changing.admin) as admin:
        await bring_extension(admin)
    chosen = {"shared_login": True, "identity": Identity.SIGNED_CLAIMS}
    watcher = Watcher()
    async with running_pool(
        changing.login, observer=watcher, settings=ClaimSettings(**chosen), ready=False
    ) as pool:
        await watcher.until(lambda: "unsigned_claims" in (pool.trouble or ""))
    accepting = ClaimSettings(**chosen, unsigned_claims=True)
    async with running_backend(changing.login, settings=accepting) as backend:
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
