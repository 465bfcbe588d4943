"""What every key store must do. Each implementation's own test file runs this class on it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.core import keyring
from sidecar.core.key_store import Beat, Fetch, KeyStore, Outcome
from sidecar.core.keyring import KeyRing, KeyState
from sidecar.core.keys import Algorithm, SigningKey, generate

KEYS = [generate(Algorithm.ES256, 0) for _ in range(4)] + [generate(Algorithm.RS256, 2048)]
LONG = 30.0
"""Seconds that nothing here takes when it works."""


def begun(now: float, first: SigningKey = KEYS[0]) -> KeyRing:
    return keyring.begin(first, KEYS[1], now, shared=True, token_ttl=3600)[0]


def beat(replica: str = "a", version: int = 1, signs_until: float = 4_000_000_000.0, ttl: int = 300) -> Beat:
    return Beat(replica=replica, version=version, signs_until=signs_until, token_ttl=ttl, skew=0.25)


def shown(ring: KeyRing) -> list[tuple[object, ...]]:
    """Everything in a ring that can be compared."""
    return [
        (
            replace(key, private=None, key=KEYS[0].public),
            key.key.jwk,
            key.key.algorithm,
            None if key.private is None else key.private.private_numbers(),
        )
        for key in ring.keys
    ]


class KeyStoreConformance:
    """The suite. `store` is an empty one, `other` the same seen by another replica."""

    @pytest.fixture
    def store(self) -> KeyStore:
        raise NotImplementedError

    @pytest.fixture
    def other(self) -> KeyStore:
        raise NotImplementedError

    async def test_a_new_store_has_no_ring(self, store: KeyStore) -> None:
        found = await store.load()
        assert (found.ring.keys, found.ring.version) == ((), 0)
        assert (found.replicas, found.fetches) == ((), ())
        assert found.ring.shared == store.shared

    async def test_a_ring_comes_back_as_it_was_put_in(self, store: KeyStore, other: KeyStore) -> None:
        now = (await store.load()).now
        ring = begun(now + 0.123456789, KEYS[4])
        ring, _ = keyring.rotate(ring, now + 1, 0, keyring.RotationSettings(), force=True)
        ring, _ = keyring.prepare(ring, KEYS[2], now + 1.5, 60)
        ring, _ = keyring.revoke(ring, KEYS[1].public.kid, now + 2, 0, at=now + 100)
        swapped = await store.swap(0, ring)
        assert swapped.outcome is Outcome.STORED
        for found in (swapped.ring, (await store.load()).ring, (await other.load()).ring):
            assert found.version == 1
            assert shown(found) == shown(ring)
            assert [key.state for key in found.keys] == [
                KeyState.RETIRED,
                KeyState.ACTIVE,
                KeyState.PREPARED,
            ]

    async def test_whoever_is_second_gets_the_ring_of_the_first(
        self, store: KeyStore, other: KeyStore
    ) -> None:
        now = (await store.load()).now
        first, second = begun(now, KEYS[0]), begun(now, KEYS[2])
        assert (await store.swap(0, first)).outcome is Outcome.STORED
        lost = await other.swap(0, second)
        assert lost.outcome is Outcome.LOST
        assert shown(lost.ring) == shown(first)
        assert lost.ring.version == 1
        assert shown((await store.load()).ring) == shown(first)

    async def test_of_many_at_once_one_is_first(self, store: KeyStore, other: KeyStore) -> None:
        now = (await store.load()).now
        await other.load()
        rings = [begun(now, key) for key in KEYS[:1] + KEYS[2:4]] * 4
        ends = await asyncio.gather(
            *((store, other)[number % 2].swap(0, ring) for number, ring in enumerate(rings))
        )
        assert [end.outcome for end in ends].count(Outcome.STORED) == 1
        won = next(ring for ring, end in zip(rings, ends, strict=True) if end.outcome is Outcome.STORED)
        assert all(shown(end.ring) == shown(won) for end in ends)

    async def test_a_version_never_comes_again(self, store: KeyStore) -> None:
        """A store that lost what it had is put right by a replica that is ahead of it."""
        now = (await store.load()).now
        ahead = replace(begun(now), version=7)
        assert (await store.swap(0, ahead)).ring.version == 8
        assert (await store.swap(7, ahead)).outcome is Outcome.LOST
        assert (await store.swap(8, replace(ahead, version=8))).ring.version == 9

    async def test_a_retired_key_has_no_private_half_in_the_store(self, store: KeyStore) -> None:
        now = (await store.load()).now
        ring = (await store.swap(0, begun(now))).ring
        rotated, _ = keyring.rotate(ring, now, 0, keyring.RotationSettings(), force=True)
        await store.swap(1, rotated)
        retired = (await store.load()).ring.keys[0]
        assert (retired.state, retired.private, retired.retired_in) == (KeyState.RETIRED, None, 2)

    async def test_what_replicas_say_of_themselves(self, store: KeyStore, other: KeyStore) -> None:
        await store.record(beat("a", version=1))
        await other.record(beat("b", version=2, ttl=60))
        found = {replica.id: replica for replica in (await store.load()).replicas}
        assert set(found) == {"a", "b"}
        assert (found["a"].version, found["b"].version) == (1, 2)
        assert (found["a"].token_ttl, found["b"].token_ttl) == (300, 60)
        assert (found["a"].signs_until, found["a"].skew) == (4_000_000_000.0, 0.25)
        assert found["a"].served_since <= found["a"].seen_at

        await store.record(beat("a", version=1))
        again = {replica.id: replica for replica in (await other.load()).replicas}["a"]
        assert again.served_since == found["a"].served_since
        assert again.seen_at >= found["a"].seen_at
        await store.record(beat("a", version=3))
        newer = {replica.id: replica for replica in (await other.load()).replicas}["a"]
        assert newer.served_since == newer.seen_at >= again.seen_at

        await store.leave("a")
        assert [replica.id for replica in (await other.load()).replicas] == ["b"]
        await store.leave("a")

    async def test_the_times_of_a_store_are_its_own(self, store: KeyStore) -> None:
        before = (await store.load()).now
        await store.record(beat())
        found = await store.load()
        assert before <= found.replicas[0].seen_at <= found.now

    async def test_of_a_verifier_the_newest_set_and_the_last_fetch_stay(
        self, store: KeyStore, other: KeyStore
    ) -> None:
        await store.record(beat("a"), [Fetch(verifier="neon-proxy", version=5, at=100.5)])
        await other.record(beat("b"), [Fetch(verifier="neon-proxy", version=4, at=200.25)])
        await other.record(beat("b"), [Fetch(verifier="*", version=1, at=7.0)])
        await other.record(beat("b"))
        found = {fetch.verifier: fetch for fetch in (await store.load()).fetches}
        assert found == {
            "neon-proxy": Fetch(verifier="neon-proxy", version=5, at=200.25),
            "*": Fetch(verifier="*", version=1, at=7.0),
        }

    async def test_news_wakes_who_waits(self, store: KeyStore, other: KeyStore) -> None:
        now = (await other.load()).now
        await store.load()
        await store.changed(0)
        waiting = asyncio.create_task(store.changed(3600))
        await asyncio.sleep(0)
        await other.swap(0, begun(now))
        await asyncio.wait_for(waiting, LONG)
