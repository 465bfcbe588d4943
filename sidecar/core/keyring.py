"""The life of signing keys: a pure machine (ring, now) -> ring.

A key is *prepared* (published, not signing), *active* (signing), *retired* (published, no longer signing, its
private half gone) and then dropped. The times follow from what verifiers cache: docs/keys.md has the figures
and their sources. Times are seconds since 1970; nothing here reads a clock or makes a key.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.keys import RSA_SIZES, Algorithm, PrivateKey, PublicKey, SigningKey

VERIFIER_CACHE_SECONDS: Final = 3600
"""How long a verifier may go on with a set that it fetched: what Neon's hosted one is seen to do."""
SAFE_LEAD_SECONDS: Final = VERIFIER_CACHE_SECONDS + 300
"""The rest is for caches in front and clocks."""
SHORTEST_LEAD_SECONDS: Final = 330
"""Neon's published verifier refreshes a set in use after 300 s."""
HOLD_MARGIN_SECONDS: Final = 120
"""Added to the longest token lifetime: leeways of verifiers (60 s at most) and clock skew."""
MAX_KEYS: Final = 64
"""Keys in a set: 64 RSA keys of 4096 bits make 51 KiB, and Neon reads 64 KiB."""
LONGEST_CACHE_SECONDS: Final = 300
"""Most that Cache-Control grants: a key revoked in an emergency should leave caches soon."""
UNSETTLED_CACHE_SECONDS: Final = 10
"""Most that it grants after a key has signed before its lead time: the next emergency may be near."""


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
class RotationSettings:
    """When keys change. Times in seconds."""

    algorithm: Algorithm = Algorithm.ES256
    rsa_bits: int = 2048
    period: int = 86_400
    """How long a key signs."""
    lead_time: int = SAFE_LEAD_SECONDS
    """How long a key is published before it signs."""
    max_token_ttl: int = 3600
    """The longest lifetime of a token."""
    unsafe_timing: bool = False
    """Accepts times that verifiers' caches cannot follow; for tests."""

    @property
    def hold(self) -> int:
        """How long a key stays published after its last signature."""
        return self.max_token_ttl + HOLD_MARGIN_SECONDS

    @property
    def hard_end(self) -> int:
        """How long a key may sign at most: twice its period, when rotation has failed for a whole one."""
        return 2 * self.period

    @property
    def max_age(self) -> int:
        """How long anyone may cache the set: well below the lead time, so that no cache misses a new key."""
        return min(LONGEST_CACHE_SECONDS, self.lead_time // 4)

    def validate(self) -> None:
        """Raises SettingsError for times that break a guarantee, with the reason."""
        if self.algorithm is Algorithm.RS256 and self.rsa_bits not in RSA_SIZES:
            raise SettingsError("rsa_bits must be 2048, 3072 or 4096; verifiers refuse other sizes")
        if self.lead_time < 1 or self.period < self.lead_time:
            raise SettingsError(
                "rotation_period must not be shorter than rotation_lead_time, and that not than 1 s: the "
                "next key is published for the lead time while the current one signs"
            )
        if self.lead_time < SHORTEST_LEAD_SECONDS and not self.unsafe_timing:
            raise SettingsError(
                f"rotation_lead_time must be at least {SHORTEST_LEAD_SECONDS} s: verifiers keep a set for "
                "300 s and more, and would refuse tokens of a key they have not fetched. For tests, set "
                "unsafe_rotation_timing"
            )
        # Prepared and active, one that waits to be dropped, and all that retire within the hold.
        if 3 + self.hold // self.lead_time > MAX_KEYS:
            raise SettingsError(
                "max_token_ttl is too long for this rotation_lead_time: the set could come to hold more "
                f"than {MAX_KEYS} keys, which verifiers do not read"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """A published key. `private` is None once it is retired."""

    key: PublicKey
    private: PrivateKey | None
    state: KeyState
    published_at: float
    activated_at: float | None = None
    retired_at: float | None = None
    """The last moment at which it may have signed."""

    @property
    def signing_key(self) -> SigningKey | None:
        """The key with its private half, while it has one."""
        return None if self.private is None else SigningKey(public=self.key, private=self.private)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Every published key, oldest first. Exactly one is active once the ring has begun."""

    keys: tuple[RingKey, ...] = ()

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
    )


def unsettled(published: PublishedKeys) -> PublishedKeys:
    """The same set before it has settled: caches may keep it for a short while only."""
    return replace(published, max_age=min(published.max_age, UNSETTLED_CACHE_SECONDS))


def begin(first: SigningKey, second: SigningKey, now: float) -> Change:
    """The very first ring. Its first key signs at once: no verifier can have cached a set without it."""
    ring, prepared = prepare(KeyRing(), first, now)
    ring, activated = _activate(ring, now, last_use=now)
    ring, second_prepared = prepare(ring, second, now)
    return ring, prepared + activated + second_prepared


def prepare(ring: KeyRing, fresh: SigningKey, now: float) -> Change:
    """Publishes a new key. Raises UsherError KEY_SET_FULL when verifiers could not read one more."""
    if len(ring.keys) >= MAX_KEYS:
        raise _set_full()
    key = RingKey(key=fresh.public, private=fresh.private, state=KeyState.PREPARED, published_at=now)
    return KeyRing(keys=(*ring.keys, key)), (Stepped(Step.PREPARE, fresh.public),)


def advance(ring: KeyRing, now: float, last_use: float, settings: RotationSettings) -> Change:
    """Does what is due at `now`: drops retired keys, and lets the prepared key take over.

    `last_use` is the latest `iat` that the active key has signed: a clock that was set back in between must
    not make the key leave before its tokens.
    """
    ring = _not_in_the_future(ring, now)
    gone = [key for key in ring.keys if key.state is KeyState.RETIRED and drop_time(key, settings) <= now]
    steps = tuple(Stepped(Step.DROP, key.key) for key in gone)
    ring = KeyRing(keys=tuple(key for key in ring.keys if key not in gone))
    active, prepared = ring.active, ring.prepared
    if (
        active is not None
        and prepared is not None
        and _since(active.activated_at, now) >= settings.period
        and ready_time(prepared, settings) <= now
    ):
        ring, taken_over = _activate(ring, now, last_use)
        steps += taken_over
    return ring, steps


def rotate(ring: KeyRing, now: float, last_use: float, settings: RotationSettings, *, force: bool) -> Change:
    """Lets the prepared key sign now.

    Raises UsherError LEAD_TIME_NOT_ELAPSED unless forced, SIGNING_UNAVAILABLE or KEY_SET_FULL.
    """
    prepared = ring.prepared
    if prepared is None:
        raise UsherError(Reason.SIGNING_UNAVAILABLE, "no key is prepared yet; retry in a moment")
    ready = ready_time(prepared, settings)
    if now < ready and not force:
        raise UsherError(
            Reason.LEAD_TIME_NOT_ELAPSED,
            f"the prepared key may sign in {int(ready - now) + 1} s, when verifiers' caches have it; wait, "
            "or set force and accept that verifiers may refuse tokens",
            {"ready_time": str(int(ready))},
        )
    if len(ring.keys) >= MAX_KEYS:
        # The key that takes over needs a successor in the set.
        raise _set_full()
    return _activate(ring, now, last_use)


def revoke(ring: KeyRing, kid: str, now: float, last_use: float) -> Change:
    """Takes a key out at once. If it signs, the prepared one takes over even before its lead time.

    Raises UsherError KEY_UNKNOWN, or SIGNING_UNAVAILABLE when no key could take over.
    """
    key = ring.find(kid)
    if key is None:
        raise UsherError(Reason.KEY_UNKNOWN, "kid: no published key has it; `usher keys list` shows all", {})
    steps: tuple[Stepped, ...] = ()
    if key.state is KeyState.ACTIVE:
        if ring.prepared is None:
            raise UsherError(Reason.SIGNING_UNAVAILABLE, "no key is prepared to take over; retry in a moment")
        ring, steps = _activate(ring, now, last_use)
    left = KeyRing(keys=tuple(other for other in ring.keys if other.key.kid != kid))
    return left, (*steps, Stepped(Step.REVOKE, key.key))


def may_sign(key: RingKey, now: float, settings: RotationSettings) -> bool:
    """Whether an active key is still before its hard end."""
    return _since(key.activated_at, now) < settings.hard_end


def ready_time(key: RingKey, settings: RotationSettings) -> float:
    """When a prepared key may sign."""
    return key.published_at + settings.lead_time


def drop_time(key: RingKey, settings: RotationSettings) -> float:
    """When a retired key leaves the set."""
    return (key.retired_at if key.retired_at is not None else key.published_at) + settings.hold


def next_step(ring: KeyRing, settings: RotationSettings) -> tuple[Step, float]:
    """The step that is due first, and when."""
    steps = [(drop_time(key, settings), Step.DROP) for key in ring.keys if key.state is KeyState.RETIRED]
    active, prepared = ring.active, ring.prepared
    if active is None or active.activated_at is None or prepared is None:
        return Step.PREPARE, 0.0
    steps.append((max(active.activated_at + settings.period, ready_time(prepared, settings)), Step.ACTIVATE))
    due, step = min(steps)
    return step, due


def step_time(key: RingKey, ring: KeyRing, settings: RotationSettings) -> float:
    """When a key's own next step is due: activation, retirement or removal."""
    if key.state is KeyState.RETIRED:
        return drop_time(key, settings)
    active, prepared = ring.active, ring.prepared
    turn = (active.activated_at or 0.0) + settings.period if active else 0.0
    return max(turn, ready_time(prepared, settings)) if prepared else turn


def _activate(ring: KeyRing, now: float, last_use: float) -> Change:
    """The prepared key signs from now on; the active one is retired and loses its private half."""
    keys: list[RingKey] = []
    steps: list[Stepped] = []
    for key in ring.keys:
        if key.state is KeyState.ACTIVE:
            keys.append(replace(key, state=KeyState.RETIRED, private=None, retired_at=max(now, last_use)))
            steps.append(Stepped(Step.RETIRE, key.key))
        elif key.state is KeyState.PREPARED:
            keys.append(replace(key, state=KeyState.ACTIVE, activated_at=now))
            steps.append(Stepped(Step.ACTIVATE, key.key))
        else:
            keys.append(key)
    return KeyRing(keys=tuple(keys)), tuple(steps)


def _not_in_the_future(ring: KeyRing, now: float) -> KeyRing:
    """The ring after a clock that was set back: waits start anew, or they would last as long as the jump."""
    if all(key.published_at <= now and (key.activated_at or 0.0) <= now for key in ring.keys):
        return ring
    return KeyRing(
        keys=tuple(
            replace(
                key,
                published_at=min(key.published_at, now),
                activated_at=None if key.activated_at is None else min(key.activated_at, now),
            )
            for key in ring.keys
        )
    )


def _since(moment: float | None, now: float) -> float:
    return 0.0 if moment is None else now - moment


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
