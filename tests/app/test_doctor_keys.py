"""The key store as the settings name it, on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sidecar.app import doctor_keys
from sidecar.app.key_stores import postgres_store
from sidecar.config import load
from sidecar.core.clock import SystemClock
from sidecar.core.diagnosis import Diagnosis
from sidecar.core.key_store import Beat
from sidecar.core.sealing import new_key
from tests.fakes import FakeClock
from tests.key_stores import begun
from tests.servers import Servers


def looked(settings: dict[str, str], clock: FakeClock | SystemClock | None = None) -> list[Diagnosis]:
    return asyncio.run(doctor_keys.look(load({}, settings, None), clock or SystemClock()))


def told(settings: dict[str, str]) -> tuple[str, str]:
    (one,) = looked(settings)
    assert one.check == "key_store"
    return one.verdict.value, one.seen


@pytest.fixture
def store(postgres_servers: Servers, fresh_database: str) -> Iterator[dict[str, str]]:
    settings = postgres_servers.install_key_store(fresh_database)
    yield settings
    secrets = settings["key_encryption_key"], settings["key_store_url"].split("@")[0].rpartition(":")[2]
    assert not any(secret in str(looked(settings)) for secret in secrets)


def begin(settings: dict[str, str], *beats: Beat, ago: float = 0.0) -> None:
    async def put() -> None:
        store = await postgres_store(load({}, settings, None), SystemClock())
        await store.swap(0, begun((await store.load()).now - ago))
        for beat in beats:
            await store.record(beat)
        await store.close()

    asyncio.run(put())


def beat(replica: str, version: int = 1, skew: float = 0.0) -> Beat:
    return Beat(replica=replica, version=version, signs_until=4e9, token_ttl=300, skew=skew)


def test_keys_in_memory() -> None:
    assert told({})[0] == "ok"
    assert told({"issuer": "https://i.example"})[0] == "warning"


def test_a_store_as_it_should_be(store: dict[str, str]) -> None:
    assert told(store) == ("warning", "it holds no key yet")
    begin(store, beat("a"), beat("b"))
    verdict, seen = told(store)
    assert (verdict, "2 keys, 2 replicas" in seen) == ("ok", True)


def test_the_wrong_key_and_the_old_one(store: dict[str, str]) -> None:
    begin(store)
    verdict, seen = told(store | {"key_encryption_key": new_key()})
    assert (verdict, "key_encryption_key" in seen) == ("failed", True)
    verdict, seen = told(store | {"key_encryption_key": f"{new_key()},{store['key_encryption_key']}"})
    assert (verdict, "2 keys are sealed with another" in seen) == ("warning", True)
    missing = {name: value for name, value in store.items() if name != "key_encryption_key"}
    assert told(missing)[0] == "failed"


def test_replicas_that_differ(store: dict[str, str]) -> None:
    begin(store, beat("a"), beat("late", version=0), beat("skewed", skew=-12.0))
    found = looked(store)
    assert {one.verdict.value for one in found} == {"warning"}
    assert [one.seen.split(",")[0] for one in found] == [
        "1 of 3 replicas do not serve the newest ring",
        "the clocks of 1 replicas differ from the store's",
    ]
    clock = FakeClock(SystemClock().now() + 40)
    assert [one.verdict.value for one in looked(store, clock)] == ["warning", "warning", "failed"]


def test_a_rotation_that_failed_for_long(store: dict[str, str]) -> None:
    begin(store, ago=2 * 86_400 + 10)
    verdict, seen = told(store)
    assert (verdict, "hard end" in seen) == ("failed", True)


def test_a_key_that_waits_for_a_verifier(store: dict[str, str]) -> None:
    begin(store, beat("a"))

    async def served_long_ago() -> None:
        opened = await postgres_store(load({}, store, None), SystemClock())
        found = await opened.load()
        keys = tuple(replace(key, served_at=found.now - 90_000) for key in found.ring.keys)
        keys = (replace(keys[0], activated_at=found.now - 86_500), *keys[1:])
        await opened.swap(1, replace(found.ring, keys=keys))
        await opened.record(beat("a", version=2))
        await opened.close()

    asyncio.run(served_long_ago())
    verdict, seen = told(store | {"verifiers": "my-edge"})
    assert (verdict, "waits for my-edge" in seen) == ("warning", True)
    assert told(store)[0] == "ok"


def test_what_is_not_there(store: dict[str, str], postgres_servers: Servers, fresh_database: str) -> None:
    assert told(store | {"key_store_url": f"{store['key_store_url']}_not"})[0] == "failed"
    postgres_servers.execute(fresh_database, "ALTER TABLE usher_keys.key RENAME COLUMN idle_at TO other")
    assert told(store) == ("failed", "the key store's tables are not those of this Usher")
    postgres_servers.execute(fresh_database, "ALTER TABLE usher_keys.key RENAME COLUMN other TO idle_at")
