"""Following: keeps a process on the newest ring of a key store, and tells the store what it serves."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.events import ClockSkewed, KeyStoreOlder, KeyStoreStateChanged, Observer
from sidecar.core.key_store import Beat, Fetch, FetchLog, KeyStore, Outcome, Replica, Snapshot, joined
from sidecar.core.keyring import KeyRing
from sidecar.core.ring_clock import MAX_SKEW_SECONDS, RingClock
from sidecar.core.rotation_settings import RotationSettings

LONGEST_BEAT_SECONDS: Final = 5.0
"""Between two looks at the store. Short, because the clock may be set while we sleep."""

REPORTED_SKEW_SECONDS: Final = 5.0
"""From when on it is said that two clocks differ. Half of it, and it is over."""

Adopt = Callable[[KeyRing], bool]
"""Puts a ring in force, unless it must not be. The store is told after it has returned."""


class Follower:
    """One replica's side of a key store. It never goes back to an older ring than it has served."""

    def __init__(
        self,
        store: KeyStore,
        settings: RotationSettings,
        clock: RingClock,
        observer: Observer,
        *,
        signs: bool = True,
        fetches: FetchLog | None = None,
    ) -> None:
        """`clock` is set by what the store says. `signs` is false for one that only publishes."""
        self.store = store
        self.clock = clock
        self.replica = uuid.uuid4().hex
        self._settings = settings
        self._observer = observer
        self._signs = signs
        self._fetches = fetches or FetchLog(clock, settings.verifiers)
        self._adopt: Adopt = lambda ring: True
        self._ring = KeyRing(shared=store.shared)
        self._snapshot = Snapshot(ring=self._ring, now=clock.now())
        self._synced_at = clock.monotonic()
        self._reachable: bool | None = None
        self._skewed = False
        self._diverged = False
        self._left_behind = False

    @property
    def ring(self) -> KeyRing:
        """The ring in force here."""
        return self._ring

    @property
    def snapshot(self) -> Snapshot:
        """What the store held when it was last read."""
        return self._snapshot

    @property
    def diverged(self) -> bool:
        """Whether the store holds another ring of the version that is in force here, which cannot be served:
        nobody can tell which is newer. It comes of a store that lost what it had, and went on."""
        return self._diverged

    @property
    def beat_seconds(self) -> float:
        """How often to look at the store."""
        return min(LONGEST_BEAT_SECONDS, self._settings.replica_timeout / 4)

    def adopt_with(self, adopt: Adopt) -> None:
        """From now on every new ring is put in force by `adopt`, beginning with the one that is here."""
        self._adopt = adopt
        if self._ring.version:
            adopt(self._ring)

    async def join(self) -> Snapshot:
        """Makes this replica known, and reads the store. Raises as KeyStore.

        Known first: a replica that reads before it is known could publish a set that nobody waits for.
        """
        self._hear(await self.store.load())
        await self.store.record(self._beat(0, self.clock.now() + self._settings.hard_end))
        return await self.sync()

    async def sync(self) -> Snapshot:
        """Reads the store, goes over to its ring, and tells what is served here. Raises as KeyStore."""
        try:
            snapshot = await self.store.load()
            self._hear(snapshot)
            self._go_over_to(snapshot)
            # One that can put nothing back must not be taken for one that serves what the store holds.
            if self._ring.version and not self._left_behind:
                await self._tell()
        except (UsherError, SettingsError) as error:
            self._report(False, error.message if isinstance(error, UsherError) else str(error))
            raise
        self._synced_at = self.clock.monotonic()
        self._report(True, "")
        return self._snapshot

    async def swap(self, ring: KeyRing) -> bool:
        """Tries to put `ring` in the place of the one that is here; the winner's is in force in any case.

        Returns whether it was ours. Raises as KeyStore; then nobody knows, and the next `sync` will tell.
        """
        swapped = await self.store.swap(self._snapshot.ring.version, ring)
        self._go_over_to(Snapshot(ring=swapped.ring, now=self.clock.now()), partial=True)
        return swapped.outcome is Outcome.STORED

    async def leave(self) -> None:
        """Says that this process neither signs nor serves any more, if the store can be reached."""
        try:
            if untold := self._fetches.untold():
                await self.store.record(self._beat(self._ring.version, self._signs_until()), untold)
            await self.store.leave(self.replica)
        except (UsherError, SettingsError):
            return
        finally:
            await self.store.close()

    @property
    def silent_seconds(self) -> float:
        """Since the store was last read and told."""
        return self.clock.monotonic() - self._synced_at

    def trouble(self) -> str | None:
        """Why verifiers should be served by another replica, in public words; None when they need not be."""
        silent = self.silent_seconds
        if self._left_behind:
            return "the key store lost the ring that is served here and holds another; start again for that"
        if not self.store.shared or silent <= self._settings.replica_timeout / 2:
            return self.clock.trouble()
        return f"the key store has not been reached for {int(silent)} s; keys may have changed there"

    def _hear(self, snapshot: Snapshot) -> None:
        if not self.store.shared:
            return
        self.clock.hear(snapshot.now, self.clock.monotonic())
        skew = self.clock.skew
        if self._skewed == (abs(skew) < REPORTED_SKEW_SECONDS / (2 if self._skewed else 1)):
            self._skewed = not self._skewed
            self._observer(ClockSkewed(skew=skew, skewed=self._skewed, signs=self.clock.trouble() is None))

    def _go_over_to(self, found: Snapshot, *, partial: bool = False) -> None:
        """Puts a newer ring in force. `partial`: only the ring of `found` is known."""
        before, ring = self._ring, found.ring
        older = ring.version < before.version
        if older:
            self._observer(KeyStoreOlder(found=ring.version, served=before.version))
        elif ring.version > before.version and self._adopt(ring):
            self._ring = ring
        self._diverged = ring.version == self._ring.version and _kids(ring) != _kids(self._ring)
        self._left_behind = not self._signs and (older or self._diverged)
        if partial:
            self._snapshot = replace(self._snapshot, ring=ring, now=found.now)
        else:
            self._snapshot = found

    async def _tell(self) -> None:
        untold = self._fetches.untold()
        # What is served here is not that version of the store's.
        version = self._ring.version - (1 if self._diverged else 0)
        beat = self._beat(version, self._signs_until())
        await self.store.record(beat, untold)
        self._fetches.told(untold)
        self._snapshot = _with_own(self._snapshot, beat, untold)

    def _beat(self, version: int, signs_until: float) -> Beat:
        return Beat(
            replica=self.replica,
            version=version,
            signs_until=signs_until + MAX_SKEW_SECONDS if self._signs else 0.0,
            token_ttl=self._settings.max_token_ttl if self._signs else 0,
            skew=self.clock.skew,
        )

    def _signs_until(self) -> float:
        active = self._ring.active
        return 0.0 if active is None else (active.activated_at or 0.0) + self._settings.hard_end

    def _report(self, reachable: bool, detail: str) -> None:
        if reachable != self._reachable:
            self._reachable = reachable
            self._observer(KeyStoreStateChanged(kind=self.store.kind, reachable=reachable, detail=detail))


def _kids(ring: KeyRing) -> tuple[str, ...]:
    return tuple(key.key.kid for key in ring.keys)


def _with_own(snapshot: Snapshot, beat: Beat, fetches: tuple[Fetch, ...]) -> Snapshot:
    """The snapshot with what this replica has just told, so that it need not be read again."""
    own = next((replica for replica in snapshot.replicas if replica.id == beat.replica), None)
    same = own is not None and own.version == beat.version
    told = Replica(
        id=beat.replica,
        version=beat.version,
        served_since=own.served_since if own is not None and same else snapshot.now,
        seen_at=snapshot.now,
        signs_until=beat.signs_until,
        token_ttl=beat.token_ttl,
        skew=beat.skew,
    )
    known = {fetch.verifier: fetch for fetch in snapshot.fetches}
    return replace(
        snapshot,
        replicas=(*(replica for replica in snapshot.replicas if replica.id != beat.replica), told),
        fetches=tuple(
            (known | {new.verifier: joined(new, known.get(new.verifier)) for new in fetches}).values()
        ),
    )
