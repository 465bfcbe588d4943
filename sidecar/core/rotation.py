"""Rotation: makes keys, and does what the ring says is due, unless another replica was first.

The store decides who was: a change is put in the place of the very version it was made from, and whoever
comes second goes on with the ring of the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core import gating, keyring
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import (
    KeyActivatedUnseen,
    KeyHeldBack,
    KeyStepped,
    KeyStoreConflict,
    Observer,
    RotationFailed,
)
from sidecar.core.following import Follower
from sidecar.core.key_store import Snapshot
from sidecar.core.keyring import Change, KeyRing, RingKey, Step, Stepped
from sidecar.core.keys import SigningKey, generate
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation_settings import VERIFIER_CACHE_SECONDS, RotationSettings
from sidecar.core.signer import Signer

LONGEST_SLEEP_SECONDS: Final = 5.0
"""Between two looks at the ring. Short, because the clock may be set while we sleep."""
_LEAST_SLEEP_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 1.0
"""After a failure: a step stays due while the store is away, and every look is a new connection then."""
_MOST_ATTEMPTS: Final = 8
"""At a change of the ring; one is lost only when another replica has changed it."""
_PATIENCE_SECONDS: Final = 3.0
"""How long a revocation waits for the other replicas before it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What a revocation did, and what it cannot do. Times by the store's clock."""

    active: RingKey
    """The key that signs now."""
    leaves_at: float
    """When the key leaves the set."""
    accepted_until: float
    """How long a verifier may accept it by a set that it, or a cache in front of it, has kept."""
    unconfirmed: tuple[str, ...]
    """Replicas that may be reached and have not said yet that they serve the set without it."""


async def make_key(settings: RotationSettings) -> SigningKey:
    """A new key, made in a thread: an RSA key takes up to half a second of CPU."""
    return await asyncio.to_thread(generate, settings.algorithm, settings.rsa_bits)


async def first_ring(settings: RotationSettings, clock: Clock, observer: Observer) -> KeyRing:
    """The ring of a service that starts: one key that signs at once, and the next one prepared."""
    ring, steps = await _begin(settings, clock.now(), shared=False)
    _report(steps, observer, forced=False)
    return ring


async def join(follower: Follower, settings: RotationSettings, observer: Observer) -> KeyRing:
    """The ring of a replica that starts: the store's, or the very first one if there is none.

    It knows this replica, and the longest lifetime of its tokens. Raises as KeyStore.
    """
    await follower.join()
    for _ in range(_MOST_ATTEMPTS):
        steps: tuple[Stepped, ...] = ()
        ring = gating.with_lifetime(follower.ring, settings.max_token_ttl)
        if ring.active is None:
            ring, steps = await _begin(settings, follower.clock.now(), shared=follower.store.shared)
        if ring is follower.ring:
            return ring
        if await follower.swap(ring):
            _report(steps, observer, forced=False)
        await follower.sync()
    raise UsherError(Reason.KEY_STORE_CONFLICT, "other replicas keep changing the key ring; start again")


class Rotator:
    """Keeps the ring of a signer current."""

    def __init__(
        self,
        signer: Signer,
        settings: RotationSettings,
        clock: Clock,
        observer: Observer,
        follower: Follower | None = None,
    ) -> None:
        """`follower` has joined its store. None: the signer's ring lives in memory, and this owns it."""
        self._signer = signer
        self._settings = settings
        self._observer = observer
        self.follower = follower or Follower(
            MemoryKeyStore(clock, signer.ring), settings, RingClock(clock), observer
        )
        self._clock = self.follower.clock
        self.follower.adopt_with(signer.replace_ring)
        self._turn = asyncio.Lock()
        self._held: KeyHeldBack | None = None

    async def run(self) -> None:
        """Does what is due, when it is due, until cancelled. A step that fails is tried again."""
        while True:
            least = _LEAST_SLEEP_SECONDS
            try:
                await self.do_what_is_due()
            except Exception as error:
                least = _RETRY_SECONDS
                # The follower has said that the store is away; nothing of ours failed.
                if not (isinstance(error, UsherError) and error.reason is Reason.KEY_STORE_UNAVAILABLE):
                    self._observer(RotationFailed(error=error))
            _, due = keyring.next_step(self._signer.ring, self._settings)
            longest = min(LONGEST_SLEEP_SECONDS, self.follower.beat_seconds)
            await self.follower.store.changed(min(longest, max(least, due - self._clock.now())))

    async def do_what_is_due(self) -> None:
        """One look at the store and the ring.

        Raises what making a key raises, UsherError KEY_SET_FULL, and what KeyStore raises.
        """
        async with self._turn:
            snapshot = await self.follower.sync()
            if self._clock.trouble() is not None:
                return
            for _ in range(_MOST_ATTEMPTS):
                change = self._due(snapshot)
                if change[0] is snapshot.ring:
                    break
                await self._put(change)
                snapshot = await self.follower.sync()
            await self._prepare_next()

    async def rotate(self, *, force: bool) -> tuple[RingKey, RingKey]:
        """Lets the prepared key sign now; returns it and the retired one.

        Raises as keyring.rotate and KeyStore, UsherError VERIFIER_NOT_SEEN unless forced, and
        KEY_STORE_CONFLICT when another replica has just let another key sign.
        """
        async with self._asked():
            before = (await self.follower.sync()).ring.active
            assert before is not None  # no other ring is ever in force
            for _ in range(_MOST_ATTEMPTS):
                snapshot = self.follower.snapshot
                now = self._now()
                change = keyring.rotate(
                    snapshot.ring, now, self._signer.last_use, self._settings, force=force
                )
                if not force:
                    self._refuse_unseen(snapshot, now)
                if await self._put(change, forced=force):
                    active = self._active()
                    retired = self._signer.ring.find(before.key.kid) or before
                    await self._prepare_next_or_report()
                    return active, retired
                await self.follower.sync()
                if self._active().key.kid != before.key.kid:
                    break
        raise UsherError(
            Reason.KEY_STORE_CONFLICT,
            "another replica has just let another key sign; `usher keys list` shows it",
        )

    async def revoke(self, kid: str, delay: float = 0.0) -> Revoked:
        """Takes a key out of the set, at once or after `delay` seconds, in which it goes on as before.

        Raises as keyring.revoke and KeyStore, and UsherError KEY_STORE_CONFLICT.
        """
        async with self._asked():
            for _ in range(_MOST_ATTEMPTS):
                snapshot = await self.follower.sync()
                now = self._now()
                change = keyring.revoke(
                    snapshot.ring, kid, now, self._signer.last_use, at=now + delay if delay > 0 else None
                )
                if await self._put(change, forced=True):
                    version = self.follower.ring.version
                    await self._prepare_next_or_report()
                    unconfirmed = await self._unconfirmed(version)
                    return Revoked(
                        active=self._active(),
                        leaves_at=now + delay,
                        # A cache in front of a verifier may have kept it, and hand it on at the last moment.
                        accepted_until=now + delay + self._settings.max_age + VERIFIER_CACHE_SECONDS,
                        unconfirmed=unconfirmed,
                    )
        raise UsherError(Reason.KEY_STORE_CONFLICT, "other replicas keep changing the key ring; retry")

    @contextlib.asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """A turn for who asks for a change, and is told why a store that is there cannot be used."""
        try:
            async with self._turn:
                yield
        except SettingsError as error:
            raise UsherError(
                Reason.KEY_STORE_UNAVAILABLE, f"the key store cannot be opened: {error}"
            ) from None

    def _due(self, snapshot: Snapshot) -> Change:
        """The ring of a snapshot with all that is due; the same ring when that is nothing."""
        if snapshot.ring.version < self.follower.ring.version:
            return self.follower.ring, ()
        if self.follower.diverged:
            # The same ring under a number that everyone can go over to.
            return replace(snapshot.ring), ()
        now = self._now()
        ring = gating.confirmed(snapshot, now, self._settings)
        if ring.shared:
            ring = gating.with_lifetime(ring, gating.longest_lifetime(snapshot, self._settings))
        waiting = gating.waiting(replace(snapshot, ring=ring), now, self._settings)
        held = waiting.held(now)
        ring, steps = keyring.advance(ring, now, self._signer.last_use, self._settings, held=held)
        self._say_who_is_missing(snapshot, waiting, held and now >= waiting.due, steps)
        return ring, steps

    def _say_who_is_missing(
        self, snapshot: Snapshot, waiting: gating.Waiting, held: bool, steps: Iterable[Stepped]
    ) -> None:
        prepared = snapshot.ring.prepared
        if prepared is None or not waiting.verifiers:
            return
        names = ",".join(waiting.verifiers)
        if held:
            event = KeyHeldBack(kid=prepared.key.kid, verifiers=names, goes_on_at=waiting.goes_on)
            if event != self._held:
                self._held = event
                self._observer(event)
        elif any(stepped.step is Step.ACTIVATE for stepped in steps):
            self._observer(KeyActivatedUnseen(kid=prepared.key.kid, verifiers=names))

    def _refuse_unseen(self, snapshot: Snapshot, now: float) -> None:
        missing = gating.waiting(snapshot, now, self._settings).verifiers
        if missing:
            raise UsherError(
                Reason.VERIFIER_NOT_SEEN,
                f"{', '.join(missing)} has not fetched the prepared key yet and may refuse its tokens; wait "
                "until `usher keys list` shows the fetch, or set force",
                {"verifiers": ",".join(missing)},
            )

    async def _unconfirmed(self, version: int) -> tuple[str, ...]:
        """Who has not gone over to this version, after some patience."""
        deadline = self._clock.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                snapshot = await self.follower.sync()
            except (UsherError, SettingsError):  # the follower has said so, and the key is revoked
                snapshot = self.follower.snapshot
            late = gating.unconfirmed(snapshot, version, self._clock.now(), self._settings)
            if not late or self._clock.monotonic() >= deadline:
                return late
            await self._clock.sleep(0.2)

    async def _prepare_next(self) -> None:
        while self.follower.snapshot.ring.prepared is None:
            fresh = await make_key(self._settings)
            snapshot = self.follower.snapshot
            ttl = gating.longest_lifetime(snapshot, self._settings)
            await self._put(keyring.prepare(snapshot.ring, fresh, self._now(), ttl))
            await self.follower.sync()

    async def _prepare_next_or_report(self) -> None:
        """After a change that is done already: what fails here is tried again by the loop."""
        try:
            await self._prepare_next()
        except Exception as error:
            self._observer(RotationFailed(error=error))

    async def _put(self, change: Change, *, forced: bool = False) -> bool:
        """Stores a change and puts it in force; False when another replica was first."""
        ring, steps = change
        if not await self.follower.swap(ring):
            self._observer(KeyStoreConflict(version=self.follower.ring.version))
            return False
        _report(steps, self._observer, forced=forced)
        return True

    def _now(self) -> float:
        """Raises UsherError SIGNING_UNAVAILABLE when the time cannot be trusted."""
        if trouble := self._clock.trouble():
            raise UsherError(Reason.SIGNING_UNAVAILABLE, trouble)
        return self._clock.now()

    def _active(self) -> RingKey:
        active = self._signer.ring.active
        assert active is not None  # replace_ring admits no other ring
        return active


async def _begin(settings: RotationSettings, now: float, *, shared: bool) -> Change:
    first, second = await make_key(settings), await make_key(settings)
    return keyring.begin(first, second, now, shared=shared, token_ttl=settings.max_token_ttl)


def _report(steps: Iterable[Stepped], observer: Observer, *, forced: bool) -> None:
    for stepped in steps:
        observer(
            KeyStepped(
                step=stepped.step.value,
                kid=stepped.key.kid,
                alg=stepped.key.algorithm.value,
                forced=forced,
            )
        )
