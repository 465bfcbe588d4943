"""What the world is served: the newest key set that this process has known, and never an older one.

A verifier that got a newer set and then an older one would refuse the tokens of a key that it knew already;
one that got an empty set counts that as a failed fetch. So sets are told apart by the version of the ring
that they come from, which every step of the ring raises, and never by a clock: a set that lost a key by
revocation is newer, and one that comes late from a store or its copy is older, whatever the time.
"""

from __future__ import annotations

from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.events import KeySetRefused, Observer
from sidecar.core.keyring import PublishedKeys, unsettled

MAX_JWKS_BYTES: Final = 64 * 1024
"""What Neon's verifier reads of a set."""


class Publication:
    """One key set at a time. `now` may be read in any thread, `offer` called in one alone."""

    def __init__(self, first: PublishedKeys, clock: Clock, observer: Observer) -> None:
        """`first` must hold a key: nothing is published before there is one."""
        if not first.algorithms:
            raise ValueError("a published set has a key")
        self._clock = clock
        self._observer = observer
        self._sets = first, unsettled(first)

    @property
    def now(self) -> PublishedKeys:
        """The set now: the same object until it changes or has settled."""
        settled, before = self._sets  # replaced whole
        return settled if self._clock.now() >= settled.settled_at else before

    def offer(self, fresh: PublishedKeys) -> bool:
        """Publishes `fresh`, unless it is empty or older than what was published; returns whether it did.

        Of two sets with one version nobody can tell which is newer: the first stays.
        """
        served, _ = self._sets
        same = fresh.version == served.version
        if not fresh.algorithms or fresh.version < served.version or (same and fresh.body != served.body):
            self._observer(
                KeySetRefused(version=fresh.version, served=served.version, empty=not fresh.algorithms)
            )
            return False
        if not same or fresh != served:
            self._sets = fresh, unsettled(fresh)
        return True
