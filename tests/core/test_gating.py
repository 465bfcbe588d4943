"""What a key waits for: replicas, verifiers, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core import gating, keyring
from sidecar.core.key_store import Fetch, Replica, Snapshot
from sidecar.core.keyring import NEVER, KeyRing, KeyState
from sidecar.core.keys import Algorithm, generate
from sidecar.core.rotation_settings import RotationSettings

SETTINGS = RotationSettings(verifiers=("neon-proxy", "edge"), verifier_wait=7200)
FIRST, SECOND, THIRD = (generate(Algorithm.ES256, 0) for _ in range(3))
PERIOD, LEAD = SETTINGS.period, SETTINGS.lead_time


def a_ring() -> KeyRing:
    """Shared, at version 5, with a key that was prepared in it."""
    ring, _ = keyring.begin(FIRST, SECOND, 0.0, shared=True)
    return replace(ring, version=5, keys=(ring.keys[0], replace(ring.keys[1], published_in=5)))


def replica(name: str = "a", version: int = 5, seen_at: float = 0.0, signs_until: float = NEVER) -> Replica:
    return Replica(
        id=name,
        version=version,
        served_since=0,
        seen_at=seen_at,
        signs_until=signs_until,
        token_ttl=300,
        skew=0,
    )


def seen(*verifiers: str, version: int = 5) -> tuple[Fetch, ...]:
    return tuple(Fetch(verifier=name, version=version, at=1.0) for name in verifiers)


def snapshot(ring: KeyRing, *replicas: Replica, fetches: tuple[Fetch, ...] = ()) -> Snapshot:
    return Snapshot(ring=ring, replicas=replicas, fetches=fetches, now=0.0)


def served(ring: KeyRing, at: float = 0.0) -> KeyRing:
    return replace(ring, keys=tuple(replace(key, served_at=at) for key in ring.keys))


def test_the_lead_time_begins_when_the_last_replica_serves_the_key() -> None:
    ring = a_ring()
    assert keyring.activation_time(ring, SETTINGS) == NEVER
    late = snapshot(ring, replica("a"), replica("b", version=4))
    assert gating.waiting(late, 10, SETTINGS).replicas == ("b",)
    assert gating.confirmed(late, 10, SETTINGS).prepared == ring.prepared
    all_serve = snapshot(ring, replica("a"), replica("b"))
    confirmed = gating.confirmed(all_serve, 90_000, SETTINGS)
    assert confirmed.prepared is not None
    assert confirmed.prepared.served_at == 90_000
    assert keyring.activation_time(confirmed, SETTINGS) == 90_000 + LEAD
    assert gating.confirmed(replace(all_serve, ring=confirmed), 90_010, SETTINGS) is confirmed


@pytest.mark.parametrize(
    ("silent", "waits"), [(SETTINGS.replica_timeout, True), (SETTINGS.replica_timeout + 1, False)]
)
def test_a_silent_replica_is_waited_for_as_long_as_it_may_be_reached(silent: float, waits: bool) -> None:
    there = snapshot(a_ring(), replica("a", seen_at=silent), replica("b", version=4))
    assert bool(gating.waiting(there, silent, SETTINGS).replicas) == waits
    prepared = gating.confirmed(there, silent, SETTINGS).prepared
    assert prepared is not None
    assert (prepared.served_at is None) == waits


def test_a_replica_that_has_yet_to_read_the_store_is_waited_for() -> None:
    there = snapshot(a_ring(), replica("a"), replica("new", version=0))
    assert gating.waiting(there, 1, SETTINGS).replicas == ("new",)


def retired_ring() -> KeyRing:
    ring, _ = keyring.rotate(served(a_ring()), PERIOD, 0, SETTINGS, force=True)
    return replace(ring, version=6)


def test_a_retired_key_is_held_from_when_no_replica_signs_with_it() -> None:
    ring = retired_ring()
    old = ring.keys[0]
    assert (old.state, old.retired_in, old.idle_at) == (KeyState.RETIRED, 6, None)
    assert keyring.drop_time(old, SETTINGS) == NEVER
    for others, idle in (
        ([replica("b", version=5, seen_at=PERIOD)], False),
        ([replica("b", version=5, seen_at=0)], False),  # silent for long, and it may sign all the same
        ([replica("b", version=5, signs_until=PERIOD + 9)], True),
        ([replica("b", version=6)], True),
        ([], True),
    ):
        there = snapshot(ring, replica("a", version=6), *others)
        found = gating.confirmed(there, PERIOD + 10, SETTINGS).keys[0]
        assert (found.idle_at is not None) == idle
    assert found.idle_at == PERIOD + 10
    assert keyring.drop_time(found, SETTINGS) == PERIOD + 10 + SETTINGS.hold


def test_a_verifier_that_has_not_fetched_holds_the_key_back_up_to_the_bound() -> None:
    ring = served(a_ring())
    for fetches, absent in (
        (seen("neon-proxy", "edge"), ()),
        (seen("neon-proxy", "edge", version=9), ()),
        (seen("edge"), ("neon-proxy",)),
        ((*seen("edge"), *seen("neon-proxy", version=4)), ("neon-proxy",)),
        (seen("*"), ("neon-proxy", "edge")),
    ):
        waiting = gating.waiting(snapshot(ring, fetches=fetches), 0, SETTINGS)
        assert waiting.verifiers == absent
        assert (waiting.due, waiting.goes_on) == (PERIOD, PERIOD + 7200)
        assert waiting.held(PERIOD) == bool(absent)
        assert not waiting.held(PERIOD + 7200)


def test_nobody_is_waited_for_beyond_the_hard_end_of_the_active_key() -> None:
    late = served(a_ring(), at=2 * PERIOD - LEAD - 1800)
    waiting = gating.waiting(snapshot(late), 0, SETTINGS)
    assert waiting.due == 2 * PERIOD - 1800
    assert waiting.goes_on == 2 * PERIOD - SETTINGS.last_call
    too_late = served(a_ring(), at=2 * PERIOD)
    waiting = gating.waiting(snapshot(too_late), 0, SETTINGS)
    assert waiting.goes_on == waiting.due == 2 * PERIOD + LEAD


def test_without_a_prepared_key_nobody_is_waited_for() -> None:
    ring = replace(a_ring(), keys=a_ring().keys[:1])
    waiting = gating.waiting(snapshot(ring, replica(version=0)), 0, SETTINGS)
    assert (waiting.replicas, waiting.verifiers, waiting.held(0)) == ((), (), False)


def test_the_longest_lifetime_of_any_replica_counts() -> None:
    ring = a_ring()
    longer = gating.with_lifetime(ring, 7200)
    assert [key.token_ttl for key in longer.keys] == [7200, 7200]
    assert gating.with_lifetime(longer, 60) is longer
    retired = gating.with_lifetime(replace(retired_ring(), keys=retired_ring().keys[:1]), 7200)
    assert [key.token_ttl for key in retired.keys] == [0], "nobody signs with it any more"
    there = snapshot(ring, replace(replica(), token_ttl=9000))
    assert gating.longest_lifetime(there, SETTINGS) == 9000
    assert gating.longest_lifetime(snapshot(ring, replica()), SETTINGS) == SETTINGS.max_token_ttl
    held = replace(retired_ring().keys[0], token_ttl=9000, idle_at=PERIOD)
    assert keyring.drop_time(held, SETTINGS) == PERIOD + 9000 + 120


def test_who_has_not_gone_over_to_a_version() -> None:
    there = snapshot(
        a_ring(), replica("a", version=6), replica("b"), replica("gone", version=1, seen_at=-10_000)
    )
    assert gating.unconfirmed(there, 6, 0, SETTINGS) == ("b",)
