"""What a scrape tells of the key store: two replicas, one of which falls behind and then silent."""

from __future__ import annotations

from sidecar.core.following import Follower
from sidecar.core.key_store import Fetch, FetchLog
from sidecar.core.keyring import prepare
from sidecar.core.keys import Algorithm, generate
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import join
from sidecar.core.rotation_settings import VERIFIER_CACHE_SECONDS, RotationSettings
from sidecar.telemetry.key_store_gauges import KeyStoreGauges
from tests.fakes import START, FakeClock, Recorder

SETTINGS = RotationSettings(verifiers=("neon-proxy",))


def read(gauges: KeyStoreGauges) -> dict[str, float]:
    return {
        " ".join([sample.name.removeprefix("usher_"), *sample.labels.values()]): sample.value
        for metric in gauges.collect()
        for sample in metric.samples
    }


async def test_what_is_known_of_the_store_and_of_other_replicas() -> None:
    clock, seen = FakeClock(), Recorder()
    store = MemoryKeyStore(clock, shared=True)
    fetches = FetchLog(clock, SETTINGS.verifiers)
    one = Follower(store, SETTINGS, RingClock(clock), seen, fetches=fetches)
    two = Follower(store, SETTINGS, RingClock(clock), seen)
    for follower in (one, two):
        await join(follower, SETTINGS, seen)
    gauges = KeyStoreGauges()
    gauges.watch(one, SETTINGS)
    await clock.advance(10)
    ring, _ = prepare(one.ring, generate(Algorithm.ES256, 0), clock.now())
    assert await one.swap(ring)
    fetches.note("neon-proxy", 1)
    await one.sync()
    assert read(gauges) == {
        "key_store_info memory": 1,
        "key_store_gap_seconds": VERIFIER_CACHE_SECONDS + SETTINGS.max_age - 10,
        "key_store_version": 2,
        "key_store_silent_seconds": 0,
        "key_store_skew_seconds": 0,
        "key_replicas current": 1,
        "key_replicas behind": 1,
        "key_replicas silent": 0,
        "key_activation_waits replica": 0,
        "key_activation_waits verifier": 0,
        "verifier_last_fetch_timestamp_seconds neon-proxy": START + 10,
    }
    await clock.advance(SETTINGS.replica_timeout + 1)
    later = read(gauges)
    assert later["key_store_silent_seconds"] == SETTINGS.replica_timeout + 1
    await one.sync()
    later = read(gauges)
    assert (later["key_replicas silent"], later["key_replicas behind"]) == (1, 0)


async def test_a_key_that_is_due_waits_for_its_verifier() -> None:
    clock, seen = FakeClock(), Recorder()
    store = MemoryKeyStore(clock)
    follower = Follower(store, SETTINGS, RingClock(clock), seen)
    await join(follower, SETTINGS, seen)
    gauges = KeyStoreGauges()
    gauges.watch(follower, SETTINGS)
    assert read(gauges)["key_activation_waits verifier"] == 0
    await clock.advance(SETTINGS.period)
    assert read(gauges)["key_activation_waits verifier"] == 1
    await store.record(follower._beat(1, 0), [Fetch(verifier="neon-proxy", version=1, at=START)])
    await follower.sync()
    assert read(gauges)["key_activation_waits verifier"] == 0


async def test_keys_in_memory_leave_a_gap_after_a_start() -> None:
    clock, seen = FakeClock(), Recorder()
    follower = Follower(MemoryKeyStore(clock), SETTINGS, RingClock(clock), seen)
    await join(follower, SETTINGS, seen)
    gauges = KeyStoreGauges()
    gauges.watch(follower, SETTINGS)
    assert read(gauges)["key_store_gap_seconds"] == 3600 + SETTINGS.max_age
    await clock.advance(3600)
    assert read(gauges)["key_store_gap_seconds"] == SETTINGS.max_age
    await clock.advance(3600)
    assert read(gauges)["key_store_gap_seconds"] == 0


def test_names_are_known_before_there_is_anything_to_read() -> None:
    gauges = KeyStoreGauges()
    assert read(gauges) == {}
    assert len(list(gauges.collect())) == 8
