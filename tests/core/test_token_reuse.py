"""One token for equal requests: what is shared, among whom, and when it no longer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import keyring
from sidecar.core.deny_list import By
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import TokenIssued, TokenReused
from sidecar.core.issuer import Issuer, IssuerSettings, TokenRequest
from sidecar.core.keys import Algorithm, generate
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings
from sidecar.core.rotation_settings import RotationSettings
from sidecar.core.signer import Issued, Signer
from sidecar.core.token_reuse import MOST_TOKENS
from tests.fakes import START, FakeClock, Recorder

ISSUER = "https://issuer.example"
SETTINGS = RotationSettings()
RING = keyring.begin(generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0), START)[0]


class There:
    """An issuer that gives tokens of the last 10 seconds again."""

    def __init__(self, reuse: int = 10) -> None:
        self.clock = FakeClock(START)
        self.seen = Recorder()
        self.revocations = Revocations(
            MemoryRevocations(self.clock), RevocationSettings(least=3720), self.clock, self.seen
        )
        self.signer = Signer(RING, SETTINGS, ISSUER, self.clock, self.seen, self.revocations)
        settings = IssuerSettings(issuer=ISSUER, reuse=reuse)
        self._issuer = Issuer(self.signer, settings, self.clock, revocations=self.revocations)

    def issue(self, **changes: Any) -> Issued:
        asked = {"subject": "alice", "claims": {"tenant_id": "acme", "n": 1}, "caller": "orders"}
        return self._issuer.issue(TokenRequest(**(asked | changes)))


def test_each_request_has_its_own_token_unless_it_is_asked_for() -> None:
    there = There(reuse=0)
    assert there.issue().compact != there.issue().compact
    assert IssuerSettings(issuer=ISSUER).reuse == 0
    with pytest.raises(SettingsError, match="token_reuse"):
        IssuerSettings(issuer=ISSUER, reuse=3601).validate()


async def test_equal_requests_have_one_token_for_a_while() -> None:
    there = There()
    first = there.issue()
    await there.clock.advance(10)
    assert there.issue(claims={"n": 1.0, "tenant_id": "acme"}) == first  # the same claims in another order
    assert len(there.seen.of(TokenIssued)) == 1
    assert there.seen.of(TokenReused) == [TokenReused(alg="ES256", kid=first.kid)]
    await there.clock.advance(1)
    assert there.issue().claims.jti != first.claims.jti


@pytest.mark.parametrize(
    "changes",
    [
        {"caller": "billing"},
        {"subject": "bob"},
        {"audiences": ("app",)},
        {"ttl": 299.0},
        {"max_ttl": 60},
        {"claims": {"tenant_id": "acme"}},
        {"claims": {"tenant_id": "acme", "n": "1"}},
        {"claims": {"tenant_id": "acme", "n": True}},
        {"claims": {"tenant_id": "acme", "n": [1]}},
    ],
)
def test_requests_that_differ_share_nothing(changes: dict[str, Any]) -> None:
    there = There()
    first, other = there.issue(), there.issue(**changes)
    assert first.claims.jti != other.claims.jti
    assert there.issue(**changes) == other
    assert there.issue() == first


async def test_half_of_its_life_is_always_left() -> None:
    there = There()
    first = there.issue(ttl=6.0)
    await there.clock.advance(3)
    assert there.issue(ttl=6.0) == first
    await there.clock.advance(1)
    assert there.issue(ttl=6.0).claims.expires_at == START + 10


async def test_a_clock_that_is_set_back_gives_no_token_of_the_future() -> None:
    there = There()
    first = there.issue()
    there.clock.set_back(2)
    assert there.issue().claims.issued_at < first.claims.issued_at


async def test_what_is_revoked_is_not_given_again() -> None:
    there = There()
    first = there.issue()
    await there.revocations.revoke(By.JTI, first.claims.jti)
    second = there.issue()
    assert second.claims.jti != first.claims.jti
    assert there.issue() == second
    await there.revocations.revoke(By.SUB, "alice", existing_only=True)
    await there.clock.advance(1)
    assert there.issue().claims.issued_at == START + 1
    await there.revocations.revoke(By.SUB, "alice")
    with pytest.raises(UsherError) as caught:
        there.issue()
    assert caught.value.reason is Reason.TOKEN_REVOKED


async def test_a_key_that_no_longer_signs_gives_nothing_again() -> None:
    there = There()
    first = there.issue()
    ring, _ = keyring.rotate(RING, there.clock.now(), there.signer.last_use, SETTINGS, force=True)
    assert there.signer.replace_ring(ring)
    assert there.issue().kid != first.kid
    await there.clock.advance(10 * SETTINGS.period)
    with pytest.raises(UsherError) as caught:
        there.issue()
    assert caught.value.reason is Reason.SIGNING_UNAVAILABLE


def test_only_so_many_are_kept() -> None:
    there = There()
    first = there.issue()
    for number in range(MOST_TOKENS - 1):
        there.issue(subject=f"user-{number}")
    assert there.issue() == first
    there.issue(subject="one more")
    assert there.issue() == first  # it was used last
    assert there.issue(subject="user-0").claims.jti not in {first.claims.jti}
    assert len(there.seen.of(TokenIssued)) == MOST_TOKENS + 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 8)), max_size=20))
async def test_nobody_is_given_what_another_asked_for(steps: Sequence[tuple[str, str, int]]) -> None:
    there = There()
    givens: dict[str, tuple[str, str]] = {}
    for caller, subject, seconds in steps:
        await there.clock.advance(seconds)
        issued = there.issue(caller=caller, subject=subject)
        assert issued.claims.subject == subject
        assert givens.setdefault(issued.compact, (caller, subject)) == (caller, subject)
        assert 0 <= there.clock.now() - issued.claims.issued_at <= 10
