"""The signer: signs with the active key, verifies with every published one, stops at the hard end."""

from __future__ import annotations

import pytest

from sidecar.core import keyring
from sidecar.core.claims import Claims
from sidecar.core.deny_list import By
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import TokenIssued, TokenRefused
from sidecar.core.keyring import KeyRing, RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings
from sidecar.core.signer import Signer
from tests.fakes import FakeClock, Recorder

SETTINGS = RotationSettings()
ISSUER = "https://issuer.example"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def signer(clock: FakeClock, seen: Recorder) -> Signer:
    first, second = generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0)
    return Signer(keyring.begin(first, second, clock.now())[0], SETTINGS, ISSUER, clock, seen)


def claims(clock: FakeClock, ttl: int = 300) -> Claims:
    now = int(clock.now())
    return Claims(
        issuer=ISSUER,
        subject="alice",
        audiences=("app",),
        issued_at=now,
        expires_at=now + ttl,
        jti="id-1",
        custom={"tenant_id": "acme"},
    )


def test_a_signed_token_verifies_until_it_expires(signer: Signer, clock: FakeClock, seen: Recorder) -> None:
    issued = signer.sign(claims(clock))
    verified = signer.verify(issued.compact, audience="app")
    assert verified.claims == issued.claims.payload
    assert seen.of(TokenIssued) == [TokenIssued(alg="ES256", kid=issued.kid, ttl_seconds=300)]
    clock.set_back(-300)
    with pytest.raises(UsherError) as caught:
        signer.verify(issued.compact)
    assert caught.value.reason is Reason.TOKEN_EXPIRED
    assert seen.of(TokenRefused) == [TokenRefused(reason="TOKEN_EXPIRED")]


def test_a_preview_is_a_token_without_signature(signer: Signer, clock: FakeClock, seen: Recorder) -> None:
    shown = signer.preview(claims(clock))
    assert shown.compact == ""
    assert (shown.kid, shown.alg) == (signer.sign(claims(clock)).kid, "ES256")
    assert len(seen.of(TokenIssued)) == 1


def test_tokens_of_a_retired_key_hold_until_it_is_dropped(signer: Signer, clock: FakeClock) -> None:
    old = signer.sign(claims(clock, ttl=3600))
    ring, _ = keyring.rotate(signer.ring, clock.now(), signer.last_use, SETTINGS, force=True)
    signer.replace_ring(ring)
    new = signer.sign(claims(clock))
    assert new.kid != old.kid
    assert signer.verify(old.compact).kid == old.kid
    ring, _ = keyring.revoke(ring, old.kid, clock.now(), signer.last_use)
    signer.replace_ring(ring)
    with pytest.raises(UsherError) as caught:
        signer.verify(old.compact)
    assert caught.value.reason is Reason.TOKEN_KEY_UNKNOWN
    assert signer.verify(new.compact).kid == new.kid


def test_the_published_set_follows_the_ring(signer: Signer, clock: FakeClock) -> None:
    before = signer.published
    assert signer.published is before
    ring, _ = keyring.prepare(
        KeyRing(keys=signer.ring.keys[:1]), generate(Algorithm.RS256, 2048), clock.now()
    )
    signer.replace_ring(ring)
    assert signer.published.etag != before.etag
    assert signer.published.algorithms == ("ES256", "RS256")


async def test_a_set_with_an_early_key_may_be_cached_for_long_only_once_it_has_settled(
    signer: Signer, clock: FakeClock
) -> None:
    await clock.advance(SETTINGS.lead_time - 1)
    assert signer.published.max_age == keyring.UNSETTLED_CACHE_SECONDS
    await clock.advance(1)
    settled = signer.published
    assert settled.max_age == SETTINGS.max_age
    assert signer.published is settled

    for _ in range(2):  # the second time the key that takes over is new
        ring, _ = keyring.rotate(signer.ring, clock.now(), 0, SETTINGS, force=True)
        signer.replace_ring(keyring.prepare(ring, generate(Algorithm.ES256, 0), clock.now())[0])
    early = signer.published
    assert early.max_age == keyring.UNSETTLED_CACHE_SECONDS
    await clock.advance(SETTINGS.lead_time - 1)
    assert signer.published is early
    await clock.advance(1)
    assert (signer.published.max_age, signer.published.etag) == (SETTINGS.max_age, early.etag)


def test_past_its_hard_end_a_key_signs_nothing(signer: Signer, clock: FakeClock) -> None:
    clock.set_back(-2 * SETTINGS.period)
    for attempt in (signer.sign, signer.preview):
        with pytest.raises(UsherError) as caught:
            attempt(claims(clock))
        assert caught.value.reason is Reason.SIGNING_UNAVAILABLE


def test_the_last_use_never_goes_back(signer: Signer, clock: FakeClock) -> None:
    signer.sign(claims(clock))
    latest = signer.last_use
    clock.set_back(1000)
    signer.sign(claims(clock))
    assert signer.last_use == latest == int(clock.now()) + 1000


def test_every_key_has_a_last_use_of_its_own(signer: Signer, clock: FakeClock) -> None:
    """A clock that was once far ahead holds back the key that signed then, and no later one."""
    signer.sign(claims(clock))
    ahead = signer.last_use
    clock.set_back(100 * SETTINGS.period)
    ring, _ = keyring.rotate(signer.ring, clock.now(), signer.last_use, SETTINGS, force=True)
    assert ring.keys[0].retired_at == ahead
    signer.replace_ring(ring)
    assert signer.last_use == 0
    signer.sign(claims(clock))
    ring, _ = keyring.prepare(ring, generate(Algorithm.ES256, 0), clock.now())
    signer.replace_ring(ring)
    assert signer.last_use == int(clock.now()), "a ring with the same active key keeps its last use"


async def test_a_revoked_token_does_not_verify(signer: Signer, clock: FakeClock, seen: Recorder) -> None:
    revocations = Revocations(MemoryRevocations(clock), RevocationSettings(least=SETTINGS.hold), clock, seen)
    signer = Signer(signer.ring, SETTINGS, ISSUER, clock, seen, revocations)
    await revocations.refresh()
    issued = signer.sign(claims(clock))
    signer.verify(issued.compact)
    for by, value in ((By.JTI, "id-1"), (By.SUB, "alice"), (By.KID, issued.kid)):
        await revocations.revoke(by, value)
        with pytest.raises(UsherError) as caught:
            signer.verify(issued.compact, path="scope.token")
        assert caught.value.reason is Reason.TOKEN_REVOKED
        assert dict(caught.value.metadata) == {"field": "scope.token", "revoked_by": by.value}
        await revocations.lift(by, value)
    assert seen.of(TokenRefused) == [TokenRefused(reason="TOKEN_REVOKED")] * 3
    # Whoever cannot show a token that holds learns nothing of what is revoked.
    await revocations.revoke(By.SUB, "alice")
    with pytest.raises(UsherError) as caught:
        signer.verify(issued.compact[:-4] + "AAAA")
    assert caught.value.reason is Reason.TOKEN_SIGNATURE_INVALID


async def test_no_token_is_let_through_by_a_list_that_is_not_current(
    signer: Signer, clock: FakeClock, seen: Recorder
) -> None:
    revocations = Revocations(MemoryRevocations(clock), RevocationSettings(least=SETTINGS.hold), clock, seen)
    signer = Signer(signer.ring, SETTINGS, ISSUER, clock, seen, revocations)
    issued = signer.sign(claims(clock))
    with pytest.raises(UsherError) as caught:
        signer.verify(issued.compact)
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE


def test_a_ring_without_an_active_key_never_comes_into_force(signer: Signer) -> None:
    before = signer.ring
    with pytest.raises(ValueError, match="active"):
        signer.replace_ring(KeyRing())
    assert signer.ring is before


def test_claims_of_a_scope_are_signed_as_they_are(signer: Signer, clock: FakeClock, seen: Recorder) -> None:
    payload = claims(clock, ttl=300).payload
    compact = signer.sign_payload(payload)
    assert signer.verify(compact).claims == payload
    assert [event.ttl_seconds for event in seen.of(TokenIssued)] == [300]


async def test_claims_that_are_signed_anew_keep_the_key_for_as_long_as_they_hold(
    signer: Signer, clock: FakeClock
) -> None:
    payload = claims(clock, ttl=300).payload
    await clock.advance(200)
    signer.sign_payload(payload)
    assert signer.last_use == clock.now()
    await clock.advance(200)
    signer.sign_payload(payload)
    assert signer.last_use == payload["exp"]


def test_a_ring_is_published_before_it_signs_and_who_asked_is_told(signer: Signer, clock: FakeClock) -> None:
    before = signer.ring
    seen: list[tuple[KeyRing, int]] = []
    signer.on_publish(lambda: seen.append((signer.ring, signer.published.version)))
    version = signer.published.version
    ring, _ = keyring.rotate(before, clock.now(), signer.last_use, SETTINGS, force=True)
    assert signer.replace_ring(ring)
    assert seen == [(before, version + 1)]
    assert signer.ring is ring


def test_every_step_publishes_a_newer_version_a_revocation_too(signer: Signer, clock: FakeClock) -> None:
    versions = [signer.published.version]
    ring, _ = keyring.rotate(signer.ring, clock.now(), signer.last_use, SETTINGS, force=True)
    signer.replace_ring(ring)
    versions.append(signer.published.version)
    kid = ring.keys[0].key.kid
    ring, _ = keyring.revoke(ring, kid, clock.now(), signer.last_use)
    signer.replace_ring(ring)
    versions.append(signer.published.version)
    assert versions == sorted(set(versions))
    assert kid.encode() not in signer.published.body
