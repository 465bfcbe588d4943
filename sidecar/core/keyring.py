"""The life of signing keys: a pure machine (ring, now) -> ring.

A key is *prepared* (published, not signing), *active* (signing), *retired* (published, no longer signing, its
private half gone) and then dropped. The times follow from what verifiers cache: docs/keys.md has the figures
and their sources. Times are seconds since 1970; nothing here reads a clock or makes a key.

Replicas that share a ring know of each other by hearsay: when all of them serve a key, and when none signs
with it any more, is recorded in the ring once it is known (gating.py).
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core.errors import Reason, UsherError
from sidecar.core.keys import PrivateKey, PublicKey, SigningKey
from sidecar.core.rotation_settings import (
    HOLD_MARGIN_SECONDS,
    MAX_KEYS,
    UNSETTLED_CACHE_SECONDS,
    RotationSettings,
)

NEVER: Final = float("inf")


class KeyState(enum.StrEnum):
    """Where a published key stands."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRED = "retired"


class Step(enum.StrEnum):
    """What can happen to a key."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    RETIRE = "retire"
    DROP = "drop"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """A published key. `private` is None once it is retired."""

    key: PublicKey
    private: PrivateKey | None
    state: KeyState
    published_at: float
    activated_at: float | None = None
    retired_at: float | None = None
    """When the next one took over."""
    served_at: float | None = None
    """When every replica was known to publish it; None before."""
    idle_at: float | None = None
    """When every replica was known to sign with it no longer; None before."""
    revoke_at: float | None = None
    """When it is to be revoked, if that was asked for a later time."""
    published_in: int = 0
    """The version of the ring that has it first."""
    retired_in: int = 0
    """The version of the ring that has it retired first."""
    token_ttl: int = 0
    """The longest lifetime of a token that any replica may have signed with it."""

    @property
    def signing_key(self) -> SigningKey | None:
        """The key with its private half, while it has one."""
        return None if self.private is None else SigningKey(public=self.key, private=self.private)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Every published key, oldest first. Exactly one is active once the ring has begun."""

    keys: tuple[RingKey, ...] = ()
    version: int = 0
    """As its store counts; 0 for one that was never stored."""
    shared: bool = False
    """Whether other processes may hold it."""

    @property
    def active(self) -> RingKey | None:
        """The key that signs; None only before the first one."""
        return next((key for key in self.keys if key.state is KeyState.ACTIVE), None)

    @property
    def prepared(self) -> RingKey | None:
        """The key that signs next."""
        return next((key for key in self.keys if key.state is KeyState.PREPARED), None)

    def find(self, kid: str) -> RingKey | None:
        """The key with this id."""
        return next((key for key in self.keys if key.key.kid == kid), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKeys:
    """The set as the world sees it."""

    body: bytes
    """The JWKS as JSON (RFC 7517 section 5)."""
    etag: str
    """A strong entity tag, quoted (RFC 9110 section 8.8.3)."""
    max_age: int
    """Seconds for which it may be cached, once settled."""
    algorithms: tuple[str, ...]
    settled_at: float = 0.0
    """From when on that holds: verifiers that follow the lead time then know every key. 0: at once."""
    version: int = 0
    """That of the ring: every step raises it."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One change of one key."""

    step: Step
    key: PublicKey


Change = tuple[KeyRing, tuple[Stepped, ...]]
"""The ring after a change, and what changed."""


def publish(ring: KeyRing, settings: RotationSettings) -> PublishedKeys:
    """The JWKS of a ring."""
    body = json.dumps({"keys": [dict(key.key.jwk) for key in ring.keys]}, separators=(",", ":")).encode(
        "ascii"
    )
    active = ring.active
    early = active is not None and (active.activated_at or 0.0) < ready_time(active, settings)
    return PublishedKeys(
        body=body,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        max_age=settings.max_age,
        algorithms=tuple(sorted({key.key.algorithm.value for key in ring.keys})),
        settled_at=max(ready_time(key, settings) for key in ring.keys) if early else 0.0,
        version=ring.version,
    )


def unsettled(published: PublishedKeys) -> PublishedKeys:
    """The same set before it has settled: caches may keep it for a short while only."""
    return replace(published, max_age=min(published.max_age, UNSETTLED_CACHE_SECONDS))


def begin(
    first: SigningKey, second: SigningKey, now: float, *, shared: bool = False, token_ttl: int = 0
) -> Change:
    """The very first ring. Its first key signs at once: no verifier can have cached a set without it."""
    ring, prepared = prepare(KeyRing(shared=shared), first, now, token_ttl)
    ring, activated = _activate(ring, now, last_use=now)
    ring, second_prepared = prepare(ring, second, now, token_ttl)
    return ring, prepared + activated + second_prepared


def prepare(ring: KeyRing, fresh: SigningKey, now: float, token_ttl: int = 0) -> Change:
    """Publishes a new key. Raises UsherError KEY_SET_FULL when verifiers could not read one more."""
    if len(ring.keys) >= MAX_KEYS:
        raise _set_full()
    key = RingKey(
        key=fresh.public,
        private=fresh.private,
        state=KeyState.PREPARED,
        published_at=now,
        served_at=None if ring.shared else now,
        published_in=ring.version + 1,
        token_ttl=token_ttl,
    )
    return replace(ring, keys=(*ring.keys, key)), (Stepped(Step.PREPARE, fresh.public),)


def advance(
    ring: KeyRing, now: float, last_use: float, settings: RotationSettings, *, held: bool = False
) -> Change:
    """Does what is due at `now`: drops retired keys, revokes, and lets the prepared key take over.

    `last_use` is the latest `iat` that the active key has signed: a clock that was set back in between must
    not make the key leave before its tokens. `held` says that the prepared key has to wait for somebody.
    """
    ring = _not_in_the_future(ring, now)
    gone = [key for key in ring.keys if key.state is KeyState.RETIRED and drop_time(key, settings) <= now]
    steps = tuple(Stepped(Step.DROP, key.key) for key in gone)
    if gone:
        ring = replace(ring, keys=tuple(key for key in ring.keys if key not in gone))
    for key in ring.keys:
        if key.revoke_at is not None and key.revoke_at <= now and _may_leave(ring, key):
            ring, revoked = revoke(ring, key.key.kid, now, last_use)
            steps += revoked
    if not held and activation_time(ring, settings) <= now:
        ring, taken_over = _activate(ring, now, last_use)
        steps += taken_over
    return ring, steps


def activation_time(ring: KeyRing, settings: RotationSettings) -> float:
    """When the prepared key is due to sign, if nothing holds it back; NEVER while that is not known."""
    active, prepared = ring.active, ring.prepared
    if active is None or active.activated_at is None or prepared is None:
        return NEVER
    return max(active.activated_at + settings.period, ready_time(prepared, settings))


def rotate(ring: KeyRing, now: float, last_use: float, settings: RotationSettings, *, force: bool) -> Change:
    """Lets the prepared key sign now.

    Raises UsherError LEAD_TIME_NOT_ELAPSED unless forced, SIGNING_UNAVAILABLE or KEY_SET_FULL.
    """
    prepared = ring.prepared
    if prepared is None:
        raise UsherError(Reason.SIGNING_UNAVAILABLE, "no key is prepared yet; retry in a moment")
    ready = ready_time(prepared, settings)
    if now < ready and not force:
        raise _not_ready(ready, now)
    if len(ring.keys) >= MAX_KEYS:
        # The key that takes over needs a successor in the set.
        raise _set_full()
    return _activate(ring, now, last_use)


def revoke(ring: KeyRing, kid: str, now: float, last_use: float, at: float | None = None) -> Change:
    """Takes a key out, at once or at a later time. If it signs, the prepared one takes over then, even before
    its lead time.

    Raises UsherError KEY_UNKNOWN, or SIGNING_UNAVAILABLE when no key could take over.
    """
    key = ring.find(kid)
    if key is None:
        raise UsherError(Reason.KEY_UNKNOWN, "kid: no published key has it; `usher keys list` shows all", {})
    if not _may_leave(ring, key):
        raise UsherError(Reason.SIGNING_UNAVAILABLE, "no key is prepared to take over; retry in a moment")
    if at is not None and at > now:
        marked = replace(key, revoke_at=at)
        return replace(ring, keys=tuple(marked if other is key else other for other in ring.keys)), ()
    steps: tuple[Stepped, ...] = ()
    if key.state is KeyState.ACTIVE:
        ring, steps = _activate(ring, now, last_use)
    left = replace(ring, keys=tuple(other for other in ring.keys if other.key.kid != kid))
    return left, (*steps, Stepped(Step.REVOKE, key.key))


def may_sign(key: RingKey, now: float, settings: RotationSettings) -> bool:
    """Whether an active key is still before its hard end."""
    return _since(key.activated_at, now) < settings.hard_end


def ready_time(key: RingKey, settings: RotationSettings) -> float:
    """When a prepared key may sign; NEVER while it is not known to be published by every replica."""
    return NEVER if key.served_at is None else key.served_at + settings.lead_time


def drop_time(key: RingKey, settings: RotationSettings) -> float:
    """When a retired key leaves the set; NEVER while a replica may still sign with it."""
    if key.idle_at is None:
        return NEVER
    longer = key.token_ttl > settings.max_token_ttl  # of a replica with other settings
    hold = key.token_ttl + HOLD_MARGIN_SECONDS if longer else settings.hold
    return max(key.idle_at, key.retired_at or 0.0) + hold


def next_step(ring: KeyRing, settings: RotationSettings) -> tuple[Step, float]:
    """The step that is due first, and when; NEVER while that depends on other replicas."""
    steps = [(drop_time(key, settings), Step.DROP) for key in ring.keys if key.state is KeyState.RETIRED]
    steps += [(key.revoke_at, Step.REVOKE) for key in ring.keys if key.revoke_at is not None]
    if ring.active is None or ring.prepared is None:
        return Step.PREPARE, 0.0
    steps.append((activation_time(ring, settings), Step.ACTIVATE))
    due, step = min(steps)
    return step, due


def step_time(key: RingKey, ring: KeyRing, settings: RotationSettings) -> float:
    """When a key's own next step is due: activation, retirement, removal or revocation; NEVER as above."""
    revoke_at = NEVER if key.revoke_at is None else key.revoke_at
    if key.state is KeyState.RETIRED:
        return min(drop_time(key, settings), revoke_at)
    active = ring.active
    turn = activation_time(ring, settings)
    if ring.prepared is None and active is not None:
        turn = (active.activated_at or 0.0) + settings.period
    return min(turn, revoke_at)


def _activate(ring: KeyRing, now: float, last_use: float) -> Change:
    """The prepared key signs from now on; the active one is retired and loses its private half."""
    keys: list[RingKey] = []
    steps: list[Stepped] = []
    for key in ring.keys:
        if key.state is KeyState.ACTIVE:
            last = max(now, last_use)
            keys.append(
                replace(
                    key,
                    state=KeyState.RETIRED,
                    private=None,
                    retired_at=last,
                    idle_at=None if ring.shared else last,
                    retired_in=ring.version + 1,
                )
            )
            steps.append(Stepped(Step.RETIRE, key.key))
        elif key.state is KeyState.PREPARED:
            keys.append(replace(key, state=KeyState.ACTIVE, activated_at=now))
            steps.append(Stepped(Step.ACTIVATE, key.key))
        else:
            keys.append(key)
    return replace(ring, keys=tuple(keys)), tuple(steps)


def _may_leave(ring: KeyRing, key: RingKey) -> bool:
    """Whether there is a key to sign when this one is gone."""
    return key.state is not KeyState.ACTIVE or ring.prepared is not None


def _not_in_the_future(ring: KeyRing, now: float) -> KeyRing:
    """The ring after a clock that was set back: waits start anew, or they would last as long as the jump."""
    if all(max(key.published_at, key.activated_at or 0.0, key.served_at or 0.0) <= now for key in ring.keys):
        return ring

    def past(moment: float | None) -> float | None:
        return None if moment is None else min(moment, now)

    return replace(
        ring,
        keys=tuple(
            replace(
                key,
                published_at=min(key.published_at, now),
                activated_at=past(key.activated_at),
                served_at=past(key.served_at),
            )
            for key in ring.keys
        ),
    )


def _since(moment: float | None, now: float) -> float:
    return 0.0 if moment is None else now - moment


def _not_ready(ready: float, now: float) -> UsherError:
    remedy = "wait, or set force and accept that verifiers may refuse tokens"
    if ready == NEVER:
        return UsherError(
            Reason.LEAD_TIME_NOT_ELAPSED, f"another replica does not publish the prepared key yet; {remedy}"
        )
    return UsherError(
        Reason.LEAD_TIME_NOT_ELAPSED,
        f"the prepared key may sign in {int(ready - now) + 1} s, when verifiers' caches have it; {remedy}",
        {"ready_time": str(int(ready))},
    )


def _set_full() -> UsherError:
    return UsherError(
        Reason.KEY_SET_FULL,
        f"the set holds {MAX_KEYS} keys, as many as verifiers read; wait until a retired key is dropped",
    )


def states(keys: Iterable[RingKey]) -> dict[KeyState, int]:
    """How many keys are in each state."""
    counts = dict.fromkeys(KeyState, 0)
    for key in keys:
        counts[key.state] += 1
    return counts
