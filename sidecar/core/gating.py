"""What a key waits for besides its time: that every replica publishes it, and every named verifier has it.

Pure functions of what the store knows. A replica that has fallen silent is waited for as long as it may still
be reached (RotationSettings.replica_timeout), a verifier that stays away for `verifier_wait`: then its
absence is reported, and rotation goes on. When a key is dropped may not be hurried so: a replica that is cut
off goes on signing until its key's hard end, and nobody can know whether it did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sidecar.core.key_store import Fetch, Replica, Snapshot
from sidecar.core.keyring import NEVER, KeyRing, KeyState, RingKey, activation_time
from sidecar.core.rotation_settings import RotationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Whom the prepared key waits for. Times are the store's."""

    replicas: tuple[str, ...]
    """Replicas that may be reached and do not publish it yet."""
    verifiers: tuple[str, ...]
    """Named verifiers that have not fetched it yet."""
    due: float
    """When it would sign if no verifier were waited for; NEVER while it waits for replicas."""
    goes_on: float
    """When it signs even without them."""

    def held(self, now: float) -> bool:
        """Whether a verifier holds it back at this moment."""
        return bool(self.verifiers) and now < self.goes_on


def waiting(snapshot: Snapshot, now: float, settings: RotationSettings) -> Waiting:
    """Whom the prepared key of a snapshot's ring waits for at `now`."""
    ring = snapshot.ring
    active, prepared = ring.active, ring.prepared
    if active is None or prepared is None:
        return Waiting(replicas=(), verifiers=(), due=NEVER, goes_on=NEVER)
    due = activation_time(ring, settings)
    last_call = (active.activated_at or 0.0) + settings.hard_end - settings.last_call
    return Waiting(
        replicas=tuple(
            replica.id
            for replica in snapshot.replicas
            if prepared.served_at is None
            and replica.version < prepared.published_in
            and reachable(replica, now, settings)
        ),
        verifiers=missing(prepared, snapshot.fetches, settings),
        due=due,
        goes_on=max(due, min(due + settings.verifier_wait, last_call)),
    )


def missing(key: RingKey, fetches: Iterable[Fetch], settings: RotationSettings) -> tuple[str, ...]:
    """The named verifiers that have not fetched a set with this key."""
    have = {fetch.verifier for fetch in fetches if fetch.version >= key.published_in}
    return tuple(name for name in settings.verifiers if name not in have)


def reachable(replica: Replica, now: float, settings: RotationSettings) -> bool:
    """Whether verifiers may still be served by a replica: one that is cut off for long is taken out of
    rotation, because it says that it is not ready."""
    return replica.seen_at >= now - settings.replica_timeout


def confirmed(snapshot: Snapshot, now: float, settings: RotationSettings) -> KeyRing:
    """The ring of a snapshot with what is now known of all replicas; the same one when nothing is new."""
    ring = snapshot.ring
    keys = tuple(_confirmed(key, snapshot.replicas, now, settings) for key in ring.keys)
    return (
        ring
        if all(new is old for new, old in zip(keys, ring.keys, strict=True))
        else replace(ring, keys=keys)
    )


def with_lifetime(ring: KeyRing, token_ttl: int) -> KeyRing:
    """The ring for replicas of which one signs tokens of this lifetime: the same one when it knows."""
    if all(key.state is KeyState.RETIRED or key.token_ttl >= token_ttl for key in ring.keys):
        return ring
    return replace(
        ring,
        keys=tuple(
            key if key.state is KeyState.RETIRED else replace(key, token_ttl=max(key.token_ttl, token_ttl))
            for key in ring.keys
        ),
    )


def longest_lifetime(snapshot: Snapshot, settings: RotationSettings) -> int:
    """The longest lifetime of tokens that any replica signs."""
    return max([settings.max_token_ttl, *(replica.token_ttl for replica in snapshot.replicas)])


def unconfirmed(snapshot: Snapshot, version: int, now: float, settings: RotationSettings) -> tuple[str, ...]:
    """The replicas that may be reached and do not serve this version yet."""
    return tuple(
        replica.id
        for replica in snapshot.replicas
        if replica.version < version and reachable(replica, now, settings)
    )


def may_sign_with(key: RingKey, replicas: Iterable[Replica], now: float) -> tuple[str, ...]:
    """The replicas that may still sign with a retired key. Silent ones too: whoever is cut off goes on."""
    if key.idle_at is not None:
        return ()
    return tuple(
        replica.id for replica in replicas if replica.version < key.retired_in and replica.signs_until >= now
    )


def _confirmed(
    key: RingKey, replicas: tuple[Replica, ...], now: float, settings: RotationSettings
) -> RingKey:
    if key.served_at is None and all(
        replica.version >= key.published_in for replica in replicas if reachable(replica, now, settings)
    ):
        key = replace(key, served_at=now)
    if key.state is KeyState.RETIRED and key.idle_at is None and not may_sign_with(key, replicas, now):
        key = replace(key, idle_at=now)
    return key
