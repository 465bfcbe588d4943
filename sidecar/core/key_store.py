"""The key store: where the ring lives that all replicas of a service share. The port, and what passes it.

A store keeps what it is given and decides nothing. Its clock is the one by which keys change.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sidecar.core.clock import Clock
from sidecar.core.keyring import KeyRing

OTHERS: Final = "*"
"""Stands for every client of the JWKS that no setting names."""

FORGET_SECONDS: Final = 3600
"""How long a replica that fell silent is still shown, once it can sign no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a replica says of itself from time to time."""

    replica: str
    """A name of its own, new at every start."""
    version: int
    """The version of the ring that it serves; 0 for none yet."""
    signs_until: float
    """When it stops signing if it never hears from the store again, by the store's clock; 0: it signs not."""
    token_ttl: int
    """The longest lifetime of tokens that it signs."""
    skew: float
    """Seconds by which its clock is ahead of the store's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What a store knows of a replica. Times are the store's."""

    id: str
    version: int
    served_since: float
    """Since when it has served this version."""
    seen_at: float
    signs_until: float
    token_ttl: int
    skew: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """The newest set that a verifier has got, and when it last got one; over all replicas."""

    verifier: str
    version: int
    at: float


def joined(new: Fetch, known: Fetch | None) -> Fetch:
    """What is known of a verifier after one more fetch."""
    if known is None:
        return new
    return Fetch(verifier=new.verifier, version=max(new.version, known.version), at=max(new.at, known.at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a store holds, at one moment of its clock."""

    ring: KeyRing
    replicas: tuple[Replica, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    now: float


class Outcome(enum.StrEnum):
    """How an attempt to change the ring ended."""

    STORED = "stored"
    LOST = "lost"
    """Another replica was first. No failure: its ring is the one to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """The end of an attempt, and the ring that is now in the store: ours, or the winner's."""

    outcome: Outcome
    ring: KeyRing


class KeyStore(Protocol):
    """The port.

    Every method but `changed` and `close` raises UsherError KEY_STORE_UNAVAILABLE when the store is away, and
    SettingsError when a key in it cannot be opened.
    """

    @property
    def kind(self) -> str:
        """Its name in metrics: memory, postgres."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes use it."""
        ...

    @property
    def lasting(self) -> bool:
        """Whether it outlives this process."""
        ...

    async def load(self) -> Snapshot:
        """All of it; a ring of version 0 without keys when none has begun."""
        ...

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        """Puts `ring` in the place of version `expected`, in one transaction.

        Its version becomes the one after both.
        """
        ...

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        """Keeps what a replica says of itself and of verifiers. Of a verifier the greater values stay."""
        ...

    async def leave(self, replica: str) -> None:
        """Forgets a replica, which neither signs nor serves any more."""
        ...

    async def changed(self, timeout: float) -> None:
        """Returns when the ring may have changed, and after `timeout` seconds in any case. Never raises."""
        ...

    async def close(self) -> None:
        """Ends the connection."""
        ...


class FetchLog:
    """Who fetched which set from this process, until the store is told. Costs its callers no I/O.

    `note` may be called from another thread: each entry is replaced whole.
    """

    def __init__(self, clock: Clock, verifiers: Iterable[str]) -> None:
        """`verifiers` are names in lower case; everyone else is counted as OTHERS."""
        self._clock = clock
        self._verifiers = frozenset(verifiers)
        self._noted: dict[str, Fetch] = {}
        self._told: dict[str, Fetch] = {}

    def note(self, product: str, version: int) -> None:
        """A client whose user agent begins with `product` has got the set of this version."""
        name = product.lower()
        verifier = name if name in self._verifiers else OTHERS
        fetch = Fetch(verifier=verifier, version=version, at=self._clock.now())
        self._noted[verifier] = joined(fetch, self._noted.get(verifier))

    def untold(self) -> tuple[Fetch, ...]:
        """What the store has not been told yet."""
        return tuple(fetch for name, fetch in list(self._noted.items()) if self._told.get(name) != fetch)

    def told(self, fetches: Iterable[Fetch]) -> None:
        """The store knows these."""
        self._told.update((fetch.verifier, fetch) for fetch in fetches)
