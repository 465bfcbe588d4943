"""The key store in Postgres: the common suite, and what only a database can get wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.key_store import KeyStore
from sidecar.core.sealing import Sealer, new_key
from sidecar.postgres import installer, key_installer
from sidecar.postgres.key_installer import EDGE, SIDECAR
from sidecar.postgres.key_store import PostgresKeyStore
from tests.key_stores import KEYS, KeyStoreConformance, beat, begun, shown
from tests.postgres.scoped import connected

KEK = new_key()


def as_login(dsn: str, name: str, password: str) -> str:
    return re.sub(r"//[^@]*@", f"//{name}:{password}@", dsn)


async def set_up(dsn: str, login: str = "usher_test_keyring", role: str = SIDECAR) -> str:
    """Installs the key store, and makes a login; returns its address."""
    async with connected(dsn) as admin:
        await key_installer.install(admin)
        return as_login(dsn, login, await key_installer.make_login(admin, login, role))


def a_store(url: str, kek: str | None = KEK) -> PostgresKeyStore:
    return PostgresKeyStore(url, None if kek is None else Sealer.parse(kek), SystemClock())


@pytest.fixture
async def url(fresh_database_each_version: str) -> str:
    return await set_up(fresh_database_each_version)


@pytest.fixture
async def newest_url(fresh_database: str) -> str:
    return await set_up(fresh_database)


class TestPostgres(KeyStoreConformance):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[KeyStore]:
        store = a_store(url)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, url: str) -> AsyncIterator[KeyStore]:
        store = a_store(url)
        yield store
        await store.close()


@pytest.fixture
async def store(newest_url: str) -> AsyncIterator[PostgresKeyStore]:
    store = a_store(newest_url)
    yield store
    await store.close()


async def begin(store: PostgresKeyStore) -> None:
    await store.swap(0, begun((await store.load()).now))


async def refusal(store: PostgresKeyStore) -> UsherError:
    with pytest.raises(UsherError) as caught:
        await store.load()
    assert caught.value.reason is Reason.KEY_STORE_UNAVAILABLE
    await store.close()
    return caught.value


async def test_the_wrong_key_encryption_key_fails_closed(store: PostgresKeyStore, newest_url: str) -> None:
    await begin(store)
    wrong = a_store(newest_url, new_key())
    with pytest.raises(SettingsError, match="key_encryption_key: the key store is sealed with the key"):
        await wrong.load()
    await wrong.close()


async def test_resealing(store: PostgresKeyStore, newest_url: str) -> None:
    await begin(store)
    fresh = new_key()
    both = a_store(newest_url, f"{fresh},{KEK}")
    assert await key_installer.reseal(both) == 2
    assert await key_installer.reseal(both) == 0
    await both.close()
    new_alone = a_store(newest_url, fresh)
    assert shown((await new_alone.load()).ring) == shown((await both.load()).ring)
    await both.close()
    await new_alone.close()
    with pytest.raises(SettingsError, match="give both"):
        await store.load()


async def test_no_private_key_is_in_the_database(store: PostgresKeyStore, fresh_database: str) -> None:
    await begin(store)
    async with connected(fresh_database) as admin:
        rows = await admin.fetch("SELECT * FROM usher_keys.key")
    text = repr(rows)
    for key in KEYS[:2]:
        numbers = key.private.private_numbers()
        assert f"{numbers.private_value:x}" not in text  # type: ignore[union-attr]
    assert all(row["sealed"] and row["kek"] == Sealer.parse(KEK).kek_id for row in rows)


async def test_an_edge_reads_public_halves_and_speaks_for_edges_alone(
    store: PostgresKeyStore, fresh_database: str
) -> None:
    await begin(store)
    await store.record(beat("sidecar"))
    url = await set_up(fresh_database, "usher_test_edge", EDGE)
    edge = a_store(url, None)
    found = await edge.load()
    assert [key.private for key in found.ring.keys] == [None, None]
    assert [key.key.kid for key in found.ring.keys] == [key.public.kid for key in KEYS[:2]]
    await edge.record(beat("edge", signs_until=0.0, ttl=0))
    with pytest.raises(UsherError):
        await edge.record(beat("sidecar", version=99, signs_until=0.0))
    with pytest.raises(UsherError):
        await edge.record(beat("pretender"))
    await edge.leave("sidecar")
    assert {replica.id: replica.version for replica in (await store.load()).replicas} == {
        "sidecar": 1,
        "edge": 1,
    }
    with pytest.raises(UsherError, match="only reads"):
        await edge.swap(1, found.ring)
    async with connected(url) as connection:
        for sql in (
            "SELECT sealed FROM usher_keys.key",
            "DELETE FROM usher_keys.key",
            "UPDATE usher_keys.ring SET version = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(sql)
    await edge.leave("edge")
    await edge.close()


async def test_a_key_store_that_users_could_read_is_not_used(newest_url: str, fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await installer.install(admin)
        await (used := a_store(newest_url)).load()
        await used.close()
        for grant, undo in (
            ("GRANT USAGE ON SCHEMA usher_keys TO PUBLIC", "REVOKE USAGE ON SCHEMA usher_keys FROM PUBLIC"),
            (
                "GRANT USAGE ON SCHEMA usher_keys TO authenticated",
                "REVOKE USAGE ON SCHEMA usher_keys FROM authenticated",
            ),
            ("GRANT usher_login TO usher_test_keyring", "REVOKE usher_login FROM usher_test_keyring"),
        ):
            await admin.execute(grant)
            try:
                assert "login of its own" in (await refusal(a_store(newest_url))).message
            finally:
                await admin.execute(undo)
        await (again := a_store(newest_url)).load()
        await again.close()


async def test_what_is_missing_is_named(fresh_database: str, newest_url: str) -> None:
    assert (
        "`usher keys install`"
        in (await refusal(a_store(newest_url.rpartition("/")[0] + "/postgres"))).message
    )
    async with connected(fresh_database) as admin:
        await admin.execute("REVOKE ALL ON usher_keys.ring FROM usher_keys")
        assert "key_store_url" in (await refusal(a_store(newest_url))).message
        await admin.execute("GRANT SELECT, UPDATE ON usher_keys.ring TO usher_keys")
    gone = await refusal(a_store(re.sub(r":[^:/@]+@", ":wrong@", newest_url)))
    assert "key_store_url" in gone.message
    assert "wrong" not in gone.message


async def test_a_connection_that_was_lost_is_made_again(store: PostgresKeyStore, fresh_database: str) -> None:
    await begin(store)
    async with connected(fresh_database) as admin:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'usher-keys'"
        assert await admin.fetchval(ended)
    for _ in range(2):
        try:
            await store.load()
        except UsherError as error:
            assert error.reason is Reason.KEY_STORE_UNAVAILABLE  # noqa: PT017 - it may or may not notice first
    assert (await store.load()).ring.version == 1


async def test_without_news_it_waits_for_its_time(store: PostgresKeyStore) -> None:
    await store.load()
    await store.changed(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.changed(60), 0.2)
    await asyncio.wait_for(store.changed(0.1), 20)
