"""What is read at a scrape: a real key ring on a clock that a test moves."""

from __future__ import annotations

from sidecar.core import keyring
from sidecar.core.deny_list import By
from sidecar.core.keyring import KeyRing, RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings
from sidecar.core.signer import Signer
from sidecar.telemetry.gauges import KeyGauges, PoolGauges, RevocationGauges
from tests.fakes import START, FakeClock, Recorder

SETTINGS = RotationSettings(period=86_400, lead_time=3900)


def key() -> keyring.SigningKey:
    return generate(Algorithm.ES256, 0)


def read(gauges: KeyGauges | PoolGauges | RevocationGauges) -> dict[str, float]:
    """Every sample, named by metric and label values."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in gauges.collect()
        for sample in metric.samples
    }


def signer_of(ring: KeyRing, clock: FakeClock) -> Signer:
    return Signer(ring, SETTINGS, "https://issuer.example", clock, Recorder())


async def test_the_first_ring_and_its_ages() -> None:
    clock = FakeClock()
    ring, _ = keyring.begin(key(), key(), START)
    signer = signer_of(ring, clock)
    gauges = KeyGauges(clock)
    gauges.watch(signer, SETTINGS)
    await clock.advance(1000)
    assert read(gauges) == {
        "usher_keys prepared": 1,
        "usher_keys active": 1,
        "usher_keys retired": 0,
        "usher_key_age_seconds prepared": 1000,
        "usher_key_age_seconds active": 1000,
        "usher_next_rotation_seconds": 86_400 - 1000,
        "usher_jwks_bytes": len(signer.published.body),
    }


async def test_after_rotations_the_oldest_key_of_a_state_counts() -> None:
    clock = FakeClock()
    ring, _ = keyring.begin(key(), key(), START)
    signer = signer_of(ring, clock)
    gauges = KeyGauges(clock)
    gauges.watch(signer, SETTINGS)
    for _ in range(2):
        await clock.advance(500)
        ring, _ = keyring.rotate(signer.ring, clock.now(), 0.0, SETTINGS, force=True)
        ring, _ = keyring.prepare(ring, key(), clock.now())
        signer.replace_ring(ring)
    await clock.advance(10)
    seen = read(gauges)
    assert (seen["usher_keys retired"], seen["usher_keys active"]) == (2, 1)
    assert seen["usher_key_age_seconds retired"] == 510
    assert seen["usher_key_age_seconds active"] == 10
    assert seen["usher_jwks_bytes"] == len(signer.published.body)


async def test_an_overdue_rotation_is_negative() -> None:
    clock = FakeClock()
    ring, _ = keyring.begin(key(), key(), START)
    gauges = KeyGauges(clock)
    gauges.watch(signer_of(ring, clock), SETTINGS)
    await clock.advance(86_400 + 90)
    assert read(gauges)["usher_next_rotation_seconds"] == -90


def test_pool_counts() -> None:
    gauges = PoolGauges()
    counts = [(5, 2, 0), (10, 10, 7)]
    gauges.watch(lambda: counts.pop(0))
    assert read(gauges) == {
        "usher_db_pool_connections in_use": 2,
        "usher_db_pool_connections idle": 3,
        "usher_db_pool_waiting": 0,
    }
    assert read(gauges) == {
        "usher_db_pool_connections in_use": 10,
        "usher_db_pool_connections idle": 0,
        "usher_db_pool_waiting": 7,
    }


async def test_the_deny_list() -> None:
    clock = FakeClock()
    revocations = Revocations(MemoryRevocations(clock), RevocationSettings(least=100), clock, Recorder())
    gauges = RevocationGauges()
    gauges.watch(revocations)
    assert read(gauges)["usher_revocation_list_age_seconds"] == float("inf")
    for value in ("alice", "bob"):
        await revocations.revoke(By.SUB, value)
    await clock.advance(7)
    await revocations.revoke(By.JTI, "id-1")
    await clock.advance(3)
    assert read(gauges) == {
        "usher_revocations jti": 1,
        "usher_revocations sub": 2,
        "usher_revocations kid": 0,
        "usher_revocation_list_age_seconds": 3,
        "usher_revocation_list_told": 0,
    }
    await clock.advance(90)
    assert read(gauges)["usher_revocations sub"] == 0, "what is over is not counted"


def test_names_are_known_before_there_is_anything_to_read() -> None:
    for gauges, count in ((KeyGauges(FakeClock()), 4), (PoolGauges(), 2), (RevocationGauges(), 3)):
        assert read(gauges) == {}
        assert len(list(gauges.collect())) == count
