"""The key store in memory."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.key_store import KeyStore
from sidecar.core.memory_keys import FORGET_SECONDS, MemoryKeyStore
from tests.fakes import START, FakeClock
from tests.key_stores import KeyStoreConformance, beat


class TestMemory(KeyStoreConformance):
    @pytest.fixture
    def store(self) -> KeyStore:
        return MemoryKeyStore(FakeClock(), shared=True)

    @pytest.fixture
    def other(self, store: KeyStore) -> KeyStore:
        return store


async def test_by_default_it_is_one_process_own() -> None:
    store = MemoryKeyStore(FakeClock())
    assert (store.kind, store.shared, (await store.load()).ring.shared) == ("memory", False, False)


async def test_a_replica_that_fell_silent_is_forgotten_once_it_can_sign_no_more() -> None:
    clock = FakeClock()
    store = MemoryKeyStore(clock, shared=True)
    await store.record(beat("silent", signs_until=START + 2 * FORGET_SECONDS))
    await store.record(beat("edge", signs_until=0.0))
    for seconds, expected in ((FORGET_SECONDS + 1, {"silent", "a"}), (FORGET_SECONDS, {"a"})):
        await clock.advance(seconds)
        await store.record(beat("a"))
        assert {replica.id for replica in (await store.load()).replicas} == expected


async def test_without_news_it_waits_for_its_time() -> None:
    clock = FakeClock()
    waiting = asyncio.create_task(MemoryKeyStore(clock).changed(5))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert waiting.done()
