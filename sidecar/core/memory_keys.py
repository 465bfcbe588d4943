"""The key store in memory: a ring that ends with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.key_store import FORGET_SECONDS, Beat, Fetch, Outcome, Replica, Snapshot, Swapped, joined
from sidecar.core.keyring import KeyRing


class MemoryKeyStore:
    """A KeyStore of this process."""

    kind = "memory"
    lasting = False

    def __init__(self, clock: Clock, ring: KeyRing | None = None, *, shared: bool = False) -> None:
        """`clock` is the store's own. `shared` says that several rotators use it; for tests."""
        self._clock = clock
        self._shared = shared
        self._ring = ring or KeyRing(shared=shared)
        self._replicas: dict[str, Replica] = {}
        self._fetches: dict[str, Fetch] = {}
        self._waiting: set[asyncio.Event] = set()

    @property
    def shared(self) -> bool:
        return self._shared

    async def load(self) -> Snapshot:
        return Snapshot(
            ring=self._ring,
            replicas=tuple(self._replicas.values()),
            fetches=tuple(self._fetches.values()),
            now=self._clock.now(),
        )

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        if expected != self._ring.version:
            return Swapped(outcome=Outcome.LOST, ring=self._ring)
        self._ring = replace(ring, version=max(expected, ring.version) + 1)
        for event in self._waiting:
            event.set()
        return Swapped(outcome=Outcome.STORED, ring=self._ring)

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        now, known = self._clock.now(), self._replicas.get(beat.replica)
        same = known is not None and known.version == beat.version
        self._replicas[beat.replica] = Replica(
            id=beat.replica,
            version=beat.version,
            served_since=known.served_since if known is not None and same else now,
            seen_at=now,
            signs_until=beat.signs_until,
            token_ttl=beat.token_ttl,
            skew=beat.skew,
        )
        for fetch in fetches:
            self._fetches[fetch.verifier] = joined(fetch, self._fetches.get(fetch.verifier))
        self._replicas = {
            name: replica
            for name, replica in self._replicas.items()
            if replica.signs_until >= now or replica.seen_at >= now - FORGET_SECONDS
        }

    async def leave(self, replica: str) -> None:
        self._replicas.pop(replica, None)

    async def changed(self, timeout: float) -> None:
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await woken_or_later(self._clock, event, timeout)
        finally:
            self._waiting.discard(event)

    async def close(self) -> None:
        """There is nothing to end."""
