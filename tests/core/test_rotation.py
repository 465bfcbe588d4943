"""Rotation under a clock that we move: what is due happens, what fails is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.core import rotation
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import KeyStepped, RotationFailed
from sidecar.core.following import Follower
from sidecar.core.key_store import Snapshot
from sidecar.core.keyring import KeyState, RotationSettings
from sidecar.core.keys import Algorithm, SigningKey
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import Rotator, first_ring, join
from sidecar.core.signer import Signer
from tests.fakes import FakeClock, Recorder

SETTINGS = RotationSettings(period=1000, lead_time=400, max_token_ttl=100)


class House:
    """A signer with its rotator, running."""

    def __init__(self, clock: FakeClock, seen: Recorder, signer: Signer, rotator: Rotator) -> None:
        self.clock, self.seen, self.signer, self.rotator = clock, seen, signer, rotator

    def steps(self) -> list[str]:
        steps = [event.step for event in self.seen.of(KeyStepped)]
        self.seen.events.clear()
        return steps

    async def pass_time(self, seconds: float) -> None:
        """Key making leaves the loop for a thread, so it is given real turns."""
        for _ in range(int(seconds // 10)):
            await self.clock.advance(10)
            await asyncio.to_thread(lambda: None)
            await self.clock.settle()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    clock, seen = FakeClock(), Recorder()
    signer = Signer(await first_ring(SETTINGS, clock, seen), SETTINGS, "issuer", clock, seen)
    rotator = Rotator(signer, SETTINGS, clock, seen)
    running = asyncio.create_task(rotator.run())
    yield House(clock, seen, signer, rotator)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_process_starts_with_a_key_that_signs_and_the_next_one_published(house: House) -> None:
    assert house.steps() == ["prepare", "activate", "prepare"]
    assert [key.state for key in house.signer.ring.keys] == [KeyState.ACTIVE, KeyState.PREPARED]


async def test_keys_take_turns_for_ever(house: House) -> None:
    house.steps()
    seen_active = []
    for _ in range(5):
        active = house.signer.ring.active
        assert active is not None
        seen_active.append(active.key.kid)
        await house.pass_time(1010)
        steps = house.steps()
        assert (steps.count("retire"), steps.count("activate"), steps.count("prepare")) == (1, 1, 1)
    assert len(set(seen_active)) == 5
    assert len(house.signer.ring.keys) in (2, 3)


async def test_rotating_by_hand_prepares_the_next_key_in_the_same_breath(house: House) -> None:
    house.steps()
    with pytest.raises(UsherError) as caught:
        await house.rotator.rotate(force=False)
    assert caught.value.reason is Reason.LEAD_TIME_NOT_ELAPSED
    await house.pass_time(400)
    active, retired = await house.rotator.rotate(force=False)
    assert (active.state, retired.state) == (KeyState.ACTIVE, KeyState.RETIRED)
    assert house.steps() == ["retire", "activate", "prepare"]
    await house.rotator.rotate(force=True)
    assert [event.forced for event in house.seen.of(KeyStepped)] == [True, True, False]


async def test_revoking_the_active_key(house: House) -> None:
    house.steps()
    bad = house.signer.ring.active
    assert bad is not None
    revoked = await house.rotator.revoke(bad.key.kid)
    assert revoked.active.key.kid != bad.key.kid
    assert house.signer.ring.find(bad.key.kid) is None
    assert house.steps() == ["retire", "activate", "revoke", "prepare"]
    with pytest.raises(UsherError) as caught:
        await house.rotator.revoke(bad.key.kid)
    assert caught.value.reason is Reason.KEY_UNKNOWN


async def test_a_key_that_cannot_be_made_is_reported_and_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True
    make_key = rotation.make_key

    async def sometimes(settings: RotationSettings) -> SigningKey:
        if broken:
            raise OSError("no entropy")
        return await make_key(settings)

    monkeypatch.setattr(rotation, "make_key", sometimes)
    await house.pass_time(1010)
    assert house.signer.ring.prepared is None
    assert house.seen.of(RotationFailed)
    broken = False
    await house.pass_time(20)
    assert house.signer.ring.prepared is not None


class LostStore(MemoryKeyStore):
    """A store that can be away, or sealed with a key that is not here, and counts who looks."""

    away = False
    sealed = False
    looks = 0

    async def load(self) -> Snapshot:
        self.looks += 1
        if self.sealed:
            raise SettingsError("key_encryption_key: another one")
        if self.away:
            raise UsherError(Reason.KEY_STORE_UNAVAILABLE, "it is away")
        return await super().load()


async def test_a_step_that_is_due_while_the_store_is_away_does_not_spin() -> None:
    """Each look is a new connection then, of each replica, to a database that comes back."""
    clock, seen = FakeClock(), Recorder()
    store = LostStore(clock, shared=True)
    follower = Follower(store, SETTINGS, RingClock(clock), seen)
    ring = await join(follower, SETTINGS, seen)
    signer = Signer(ring, SETTINGS, "issuer", follower.clock, seen)
    running = asyncio.create_task(Rotator(signer, SETTINGS, clock, seen, follower).run())
    try:
        await clock.advance(SETTINGS.period - 1)
        store.away = True
        before = store.looks
        await clock.advance(101)
        assert 90 <= store.looks - before <= 110
        store.away = False
        seen.events.clear()
        await clock.advance(2)
        assert "activate" in [event.step for event in seen.of(KeyStepped)]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _on(store: MemoryKeyStore, clock: FakeClock, seen: Recorder) -> Rotator:
    """One that does nothing by itself."""
    follower = Follower(store, SETTINGS, RingClock(clock), seen)
    signer = Signer(await join(follower, SETTINGS, seen), SETTINGS, "issuer", follower.clock, seen)
    return Rotator(signer, SETTINGS, clock, seen, follower)


async def test_whoever_asks_for_a_change_is_told_that_the_store_cannot_be_opened() -> None:
    clock = FakeClock()
    store = LostStore(clock, shared=True)
    rotator = await _on(store, clock, Recorder())
    active = rotator.follower.ring.active
    assert active is not None
    store.sealed = True
    for asked in (rotator.rotate(force=True), rotator.revoke(active.key.kid)):
        with pytest.raises(UsherError, match="cannot be opened: key_encryption_key") as refused:
            await asked
        assert refused.value.reason is Reason.KEY_STORE_UNAVAILABLE
    assert rotator.follower.ring.active == active


async def test_a_revocation_that_is_done_is_answered_even_if_the_store_was_just_sealed_afresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    store = LostStore(clock, shared=True)
    rotator = await _on(store, clock, Recorder())
    active = rotator.follower.ring.active
    assert active is not None

    async def then_sealed() -> None:
        store.sealed = True

    monkeypatch.setattr(rotator, "_prepare_next_or_report", then_sealed)
    asked = asyncio.create_task(rotator.revoke(active.key.kid))
    await clock.advance(5)
    revoked = await asked
    assert revoked.active.key.kid != active.key.kid
    assert rotator.follower.ring.find(active.key.kid) is None


async def test_a_rotation_that_is_done_is_answered_even_if_the_next_key_cannot_be_made(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(settings: RotationSettings) -> SigningKey:
        raise OSError("no entropy")

    monkeypatch.setattr(rotation, "make_key", never)
    before = house.signer.ring.active
    assert before is not None
    active, retired = await house.rotator.rotate(force=True)
    assert retired.key.kid == before.key.kid
    assert house.signer.ring.active == active
    assert [type(event.error) for event in house.seen.of(RotationFailed)] == [OSError]


async def test_making_an_rsa_key_leaves_the_loop_free() -> None:
    """The loop turns many times while a large key is made."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    key = await rotation.make_key(RotationSettings(algorithm=Algorithm.RS256, rsa_bits=3072))
    counting.cancel()
    assert key.public.algorithm is Algorithm.RS256
    assert turns > 100
