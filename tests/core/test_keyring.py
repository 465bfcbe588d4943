"""The life of keys, driven through random clocks and operations."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core import keyring
from sidecar.core.errors import Reason, UsherError
from sidecar.core.keyring import KeyRing, KeyState, Step
from sidecar.core.keys import Algorithm, SigningKey, generate, public_half
from sidecar.core.rotation_settings import RotationSettings

SETTINGS = RotationSettings(period=86_400, lead_time=3900, max_token_ttl=3600)
POOL = [generate(Algorithm.ES256, 0) for _ in range(400)]
NEON_LIMIT = 64 * 1024


def begun(now: float = 0.0) -> KeyRing:
    return keyring.begin(POOL[0], POOL[1], now)[0]


def kids(ring: KeyRing, state: KeyState) -> list[str]:
    return [key.key.kid for key in ring.keys if key.state is state]


def test_the_first_key_signs_at_once_and_the_next_is_published() -> None:
    ring, steps = keyring.begin(POOL[0], POOL[1], 100.0)
    assert kids(ring, KeyState.ACTIVE) == [POOL[0].public.kid]
    assert kids(ring, KeyState.PREPARED) == [POOL[1].public.kid]
    assert [stepped.step for stepped in steps] == [Step.PREPARE, Step.ACTIVATE, Step.PREPARE]


def test_a_key_lives_through_its_states_on_time() -> None:
    ring = begun()
    assert keyring.next_step(ring, SETTINGS) == (Step.ACTIVATE, 86_400)
    assert keyring.advance(ring, 86_399, 0, SETTINGS) == (ring, ())

    ring, steps = keyring.advance(ring, 86_400, 86_400, SETTINGS)
    assert [stepped.step for stepped in steps] == [Step.RETIRE, Step.ACTIVATE]
    assert kids(ring, KeyState.RETIRED) == [POOL[0].public.kid]
    assert kids(ring, KeyState.ACTIVE) == [POOL[1].public.kid]
    assert keyring.next_step(ring, SETTINGS) == (Step.PREPARE, 0.0)

    ring, _ = keyring.prepare(ring, POOL[2], 86_400)
    assert keyring.next_step(ring, SETTINGS) == (Step.DROP, 86_400 + 3600 + 120)
    ring, steps = keyring.advance(ring, 86_400 + 3600 + 119, 0, SETTINGS)
    assert steps == ()
    ring, steps = keyring.advance(ring, 86_400 + 3600 + 120, 0, SETTINGS)
    assert [(stepped.step, stepped.key.kid) for stepped in steps] == [(Step.DROP, POOL[0].public.kid)]


def test_a_retired_key_cannot_sign_any_more() -> None:
    ring, _ = keyring.advance(begun(), 86_400, 0, SETTINGS)
    retired = next(key for key in ring.keys if key.state is KeyState.RETIRED)
    assert retired.private is None
    assert retired.signing_key is None


def test_a_key_whose_lead_time_was_cut_short_waits() -> None:
    """A key prepared late takes over only when its lead time has passed, not at the end of the period."""
    ring = KeyRing(keys=begun().keys[:1])
    ring, _ = keyring.prepare(ring, POOL[1], 86_000)
    assert keyring.next_step(ring, SETTINGS) == (Step.ACTIVATE, 86_000 + 3900)
    assert keyring.advance(ring, 86_000 + 3899, 0, SETTINGS)[1] == ()
    assert keyring.advance(ring, 86_000 + 3900, 0, SETTINGS)[1] != ()


def test_a_clock_set_back_by_a_year_delays_a_rotation_by_one_period_at_most() -> None:
    year = 365 * 86_400.0
    ring, _ = keyring.advance(begun(now=year), 0, year, SETTINGS)
    assert keyring.next_step(ring, SETTINGS) == (Step.ACTIVATE, 86_400)


def test_rotation_out_of_turn_needs_the_lead_time_or_force() -> None:
    ring = begun()
    with pytest.raises(UsherError) as caught:
        keyring.rotate(ring, 3899, 0, SETTINGS, force=False)
    assert caught.value.reason is Reason.LEAD_TIME_NOT_ELAPSED
    assert caught.value.metadata == {"ready_time": "3900"}
    for now, force in ((3900, False), (1, True)):
        rotated, _ = keyring.rotate(ring, now, 0, SETTINGS, force=force)
        assert kids(rotated, KeyState.ACTIVE) == [POOL[1].public.kid]
    with pytest.raises(UsherError) as caught:
        keyring.rotate(rotated, 1, 0, SETTINGS, force=True)
    assert caught.value.reason is Reason.SIGNING_UNAVAILABLE


def test_revoking() -> None:
    ring = begun()
    signing, _ = keyring.revoke(ring, POOL[0].public.kid, 1, 1)
    assert [key.key.kid for key in signing.keys] == [POOL[1].public.kid]
    assert signing.active is not None
    waiting, _ = keyring.revoke(ring, POOL[1].public.kid, 1, 1)
    assert [key.key.kid for key in waiting.keys] == [POOL[0].public.kid]
    with pytest.raises(UsherError) as caught:
        keyring.revoke(waiting, POOL[0].public.kid, 1, 1)
    assert caught.value.reason is Reason.SIGNING_UNAVAILABLE
    with pytest.raises(UsherError) as caught:
        keyring.revoke(ring, "unknown", 1, 1)
    assert caught.value.reason is Reason.KEY_UNKNOWN


def test_the_hard_end() -> None:
    active = begun().active
    assert active is not None
    assert keyring.may_sign(active, 2 * 86_400 - 1, SETTINGS)
    assert not keyring.may_sign(active, 2 * 86_400, SETTINGS)


def test_the_largest_set_fits_what_neon_reads() -> None:
    large = public_half(rsa.generate_private_key(public_exponent=65537, key_size=4096))
    key = keyring.RingKey(key=large, private=None, state=KeyState.RETIRED, published_at=0)
    body = keyring.publish(KeyRing(keys=(key,) * keyring.MAX_KEYS), SETTINGS).body
    assert len(json.loads(body)["keys"]) == keyring.MAX_KEYS
    assert len(body) < NEON_LIMIT


def test_a_full_set_takes_no_key() -> None:
    ring = KeyRing(keys=begun().keys * 32)
    with pytest.raises(UsherError) as caught:
        keyring.prepare(ring, POOL[3], 0)
    assert caught.value.reason is Reason.KEY_SET_FULL


def test_what_is_published_changes_its_tag_and_may_be_cached_for_less_than_the_lead_time() -> None:
    ring = begun()
    first = keyring.publish(ring, SETTINGS)
    assert first == keyring.publish(ring, SETTINGS)
    assert first.etag != keyring.publish(KeyRing(keys=ring.keys[:1]), SETTINGS).etag
    assert first.max_age == 300
    assert first.algorithms == ("ES256",)
    assert keyring.publish(ring, RotationSettings(lead_time=400)).max_age == 100


def test_a_set_whose_active_key_came_early_settles_when_every_key_has_had_its_lead_time() -> None:
    lead, period = SETTINGS.lead_time, SETTINGS.period

    def settled_at(ring: KeyRing) -> float:
        return keyring.publish(ring, SETTINGS).settled_at

    ring = begun()
    assert settled_at(ring) == lead  # at the start caches may hold the set of the process before
    due, _ = keyring.advance(ring, period, 0, SETTINGS)
    assert settled_at(due) == 0
    assert settled_at(keyring.prepare(due, POOL[2], period)[0]) == 0

    for now, expected in ((100.0, 100.0 + lead), (lead, 0.0)):
        for changed, _ in (
            keyring.rotate(ring, now, 0, SETTINGS, force=True),
            keyring.revoke(ring, POOL[0].public.kid, now, 0),
        ):
            full, _ = keyring.prepare(changed, POOL[2], now)
            assert settled_at(full) == expected


def test_an_unsettled_set_may_be_cached_for_a_short_while_only() -> None:
    for settings, expected in (
        (SETTINGS, keyring.UNSETTLED_CACHE_SECONDS),
        (RotationSettings(lead_time=8, unsafe_timing=True), 2),
    ):
        published = keyring.publish(begun(), settings)
        unsettled = keyring.unsettled(published)
        assert (unsettled.body, unsettled.etag, unsettled.max_age) == (
            published.body,
            published.etag,
            expected,
        )


@dataclass
class Issued:
    kid: str
    expires_at: float


class KeyLife(RuleBasedStateMachine):
    """The machine under a clock that passes, stalls, and is set back."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = itertools.cycle(POOL)
        self.seconds = 0.0  # since the beginning, as nature has it
        self.clock = 1_000_000_000.0  # what the machine reads
        self.latest = self.clock  # and the latest it ever read: a token seen to expire needs no key again
        self.published: dict[str, float] = {}
        self.exempt: set[str] = set()
        self.tokens: list[Issued] = []
        self.revoked: set[str] = set()
        self.used: dict[str, float] = {}

    @property
    def last_use(self) -> float:
        """Of the active key, as the signer keeps it."""
        assert self.ring.active is not None
        return self.used.get(self.ring.active.key.kid, 0.0)

    def next_key(self) -> SigningKey:
        while (key := next(self.fresh)).public.kid in self.published:
            pass
        self.published[key.public.kid] = self.seconds
        return key

    @initialize(period=st.integers(330, 100_000), lead=st.integers(330, 5000), ttl=st.integers(1, 7200))
    def begin(self, period: int, lead: int, ttl: int) -> None:
        self.settings = RotationSettings(period=max(period, lead), lead_time=lead, max_token_ttl=ttl)
        self.settings.validate()
        first, second = self.next_key(), self.next_key()
        self.exempt.add(first.public.kid)
        self.ring, _ = keyring.begin(first, second, self.clock)

    @rule(seconds=st.integers(0, 10) | st.integers(0, 5000) | st.integers(0, 300_000))
    def time_passes(self, seconds: int) -> None:
        self.seconds += seconds
        self.clock += seconds
        self.latest = max(self.latest, self.clock)

    @rule(offset=st.integers(-1, 1))
    def time_passes_to_the_next_step(self, offset: int) -> None:
        _, due = keyring.next_step(self.ring, self.settings)
        self.time_passes(max(0, int(due - self.clock) + offset))

    @rule(seconds=st.integers(1, 100) | st.integers(1, 100_000_000))
    def clock_is_set_back(self, seconds: int) -> None:
        self.clock -= seconds

    @rule()
    def due_steps_are_done(self) -> None:
        self.ring, _ = keyring.advance(self.ring, self.clock, self.last_use, self.settings)
        self.check_active_had_its_lead_time()
        if self.ring.prepared is None and len(self.ring.keys) < keyring.MAX_KEYS:
            self.ring, _ = keyring.prepare(self.ring, self.next_key(), self.clock)

    @rule(part=st.floats(0.001, 1))
    def a_token_is_issued(self, part: float) -> None:
        active = self.ring.active
        assert active is not None
        if not keyring.may_sign(active, self.clock, self.settings):
            return
        issued_at = int(self.clock)
        lifetime = max(1, int(part * self.settings.max_token_ttl))
        self.used[active.key.kid] = max(self.last_use, issued_at)
        self.tokens.append(Issued(active.key.kid, issued_at + lifetime))

    @rule()
    def rotated_by_hand(self) -> None:
        try:
            self.ring, _ = keyring.rotate(self.ring, self.clock, self.last_use, self.settings, force=False)
        except UsherError as error:
            assert error.reason in {  # noqa: PT017 - the other reasons are faults
                Reason.LEAD_TIME_NOT_ELAPSED,
                Reason.SIGNING_UNAVAILABLE,
                Reason.KEY_SET_FULL,
            }
        self.check_active_had_its_lead_time()

    @precondition(lambda self: self.ring.prepared is not None and len(self.ring.keys) < keyring.MAX_KEYS)
    @rule()
    def rotated_by_force(self) -> None:
        assert self.ring.prepared is not None
        self.exempt.add(self.ring.prepared.key.kid)
        self.ring, _ = keyring.rotate(self.ring, self.clock, self.last_use, self.settings, force=True)

    @precondition(lambda self: self.ring.prepared is not None)
    @rule(which=st.integers(0, 100))
    def a_key_is_revoked(self, which: int) -> None:
        key = self.ring.keys[which % len(self.ring.keys)]
        if key.state is KeyState.ACTIVE:
            assert self.ring.prepared is not None
            self.exempt.add(self.ring.prepared.key.kid)
        self.revoked.add(key.key.kid)
        self.ring, _ = keyring.revoke(self.ring, key.key.kid, self.clock, self.last_use)

    def check_active_had_its_lead_time(self) -> None:
        active = self.ring.active
        assert active is not None
        if active.key.kid not in self.exempt:
            assert self.seconds - self.published[active.key.kid] >= self.settings.lead_time

    @invariant()
    def exactly_one_key_is_active(self) -> None:
        assert sum(key.state is KeyState.ACTIVE for key in self.ring.keys) == 1

    @invariant()
    def at_most_one_key_is_prepared_and_only_these_two_can_sign(self) -> None:
        assert sum(key.state is KeyState.PREPARED for key in self.ring.keys) <= 1
        assert all((key.private is None) == (key.state is KeyState.RETIRED) for key in self.ring.keys)

    @invariant()
    def the_set_is_never_empty_and_never_too_large(self) -> None:
        assert 1 <= len(self.ring.keys) <= keyring.MAX_KEYS
        assert len(keyring.publish(self.ring, self.settings).body) < NEON_LIMIT

    @invariant()
    def no_token_outlives_its_published_key(self) -> None:
        there = {key.key.kid for key in self.ring.keys}
        for token in self.tokens:
            valid = self.latest < token.expires_at + 30  # the leeway of Neon's verifier
            assert not valid or token.kid in there or token.kid in self.revoked

    @invariant()
    def a_next_step_is_always_known(self) -> None:
        step, due = keyring.next_step(self.ring, self.settings)
        assert step in Step
        if step is not Step.PREPARE:
            after, steps = keyring.advance(self.ring, max(self.clock, due), self.last_use, self.settings)
            assert steps, "a step that is due happens"
            assert after != self.ring


KeyLife.TestCase.settings = hypothesis_settings(max_examples=300, stateful_step_count=60, deadline=None)
TestKeyLife = KeyLife.TestCase
