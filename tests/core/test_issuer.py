"""The issuer: lifetimes, identities and scopes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import keyring
from sidecar.core.deny_list import By
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Issuer, IssuerSettings, TokenRequest
from sidecar.core.keyring import RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings
from sidecar.core.signer import Signer
from tests.fakes import START, FakeClock, Recorder

CLOCK = FakeClock(START + 0.9)
ISSUER = "https://issuer.example"
SIGNER = Signer(
    keyring.begin(generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0), START)[0],
    RotationSettings(),
    ISSUER,
    CLOCK,
    Recorder(),
)
ISSUING = Issuer(SIGNER, IssuerSettings(issuer=ISSUER), CLOCK)


def asked(**changes: Any) -> TokenRequest:
    return TokenRequest(**({"subject": "alice", "claims": {"tenant_id": "acme"}} | changes))


def reason(**changes: Any) -> Reason:
    with pytest.raises(UsherError) as caught:
        ISSUING.claims(asked(**changes))
    assert caught.value.violations
    return caught.value.reason


def test_the_claims_of_a_token() -> None:
    issued = ISSUING.issue(asked(audiences=["app"], ttl=60.0))
    payload = SIGNER.verify(issued.compact).claims
    assert payload == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "app",
        "iat": int(START),
        "nbf": int(START),
        "exp": int(START) + 60,
        "jti": payload["jti"],
        "tenant_id": "acme",
    }


def test_every_token_has_its_own_jti() -> None:
    ids = {ISSUING.claims(asked()).jti for _ in range(200)}
    assert len(ids) == 200


def test_the_default_lifetime() -> None:
    claims = ISSUING.claims(asked())
    assert claims.expires_at - claims.issued_at == 300


@pytest.mark.parametrize("ttl", [0.0, -1.0, -1e12, 0.5, 1.5, 3601.0, 1e12])
def test_lifetimes_that_are_refused(ttl: float) -> None:
    assert reason(ttl=ttl) is Reason.TTL_OUT_OF_RANGE


@given(st.integers(1, 3600))
def test_lifetimes_that_are_granted(ttl: int) -> None:
    claims = ISSUING.claims(asked(ttl=float(ttl)))
    assert claims.expires_at - claims.issued_at == ttl


@pytest.mark.parametrize(
    ("longest", "asked_for", "given"),
    [(60, None, 60), (60, 60.0, 60), (900, None, 300), (7200, 3600.0, 3600)],
)
def test_the_callers_own_longest_lifetime(longest: int, asked_for: float | None, given: int) -> None:
    claims = ISSUING.claims(asked(ttl=asked_for, max_ttl=longest))
    assert claims.expires_at - claims.issued_at == given


def test_a_lifetime_above_the_callers_own_is_refused() -> None:
    assert reason(ttl=61.0, max_ttl=60) is Reason.TTL_OUT_OF_RANGE


def test_what_a_scope_holds_besides_the_registered_claims() -> None:
    for audiences, expected in (((), ()), (("a",), ("a",)), (("a", "b"), ("a", "b"))):
        scope = ISSUING.scope_of_token(ISSUING.issue(asked(audiences=audiences)).compact)
        assert scope.audiences == expected
        assert scope.custom == {"tenant_id": "acme"}
        assert scope.role is None


def test_bad_subjects_and_claims_name_their_field() -> None:
    assert reason(subject="") is Reason.INVALID_FIELD
    assert reason(audiences=["app", "a\0b"]) is Reason.INVALID_FIELD
    assert reason(claims={"exp": 1}) is Reason.CLAIM_RESERVED
    assert reason(claims={"big": "x" * 9000}) is Reason.CLAIMS_TOO_LARGE
    with pytest.raises(UsherError) as caught:
        ISSUING.scope_of_principal(asked(claims={"sub": "mallory"}))
    assert caught.value.violations[0].field == "scope.principal.claims.sub"


def test_a_principal_and_a_token_give_the_same_scope() -> None:
    by_name = ISSUING.scope_of_principal(asked())
    by_token = ISSUING.scope_of_token(ISSUING.issue(asked()).compact)
    assert by_name.subject == by_token.subject == "alice"
    assert {**by_name.payload, "jti": ""} == {**by_token.payload, "jti": ""}
    assert '"tenant_id":"acme"' in by_name.payload_json


def test_a_scope_of_a_bad_token_is_refused() -> None:
    with pytest.raises(UsherError) as caught:
        ISSUING.scope_of_token("no.token.here")
    assert caught.value.reason is Reason.TOKEN_MALFORMED


def test_a_preview_signs_nothing() -> None:
    shown = ISSUING.preview(asked(ttl=60.0))
    assert shown.compact == ""
    assert shown.claims.expires_at == int(START) + 60


def test_the_largest_token_stays_below_12_kib() -> None:
    """With the largest claims, by the largest key: what an HTTP/2 hop with 16 KiB of headers takes."""
    signer = Signer(
        keyring.begin(generate(Algorithm.RS256, 4096), generate(Algorithm.ES256, 0), START)[0],
        RotationSettings(),
        "i" * 255,
        CLOCK,
        Recorder(),
    )
    issuing = Issuer(signer, IssuerSettings(issuer="i" * 255), CLOCK)
    low, high = 0, 9000
    while low < high - 1:
        middle = (low + high) // 2
        try:
            issuing.claims(asked(subject="s" * 255, claims={"c": "x" * middle}))
            low = middle
        except UsherError:
            high = middle
    compact = issuing.issue(asked(subject="s" * 255, claims={"c": "x" * low})).compact
    assert 11_000 < len(compact) < 12 * 1024


async def revoking() -> tuple[Issuer, Signer, Revocations]:
    """An issuer with a deny list that is current."""
    revocations = Revocations(MemoryRevocations(CLOCK), RevocationSettings(least=3720), CLOCK, Recorder())
    await revocations.refresh()
    signer = Signer(SIGNER.ring, RotationSettings(), ISSUER, CLOCK, Recorder(), revocations)
    return Issuer(signer, IssuerSettings(issuer=ISSUER), CLOCK, revocations=revocations), signer, revocations


async def test_a_user_who_is_locked_out_gets_no_scope_and_no_token() -> None:
    issuing, _, revocations = await revoking()
    token = issuing.issue(asked()).compact
    await revocations.revoke(By.SUB, "alice")
    for act in (
        lambda: issuing.scope_of_token(token),
        lambda: issuing.scope_of_principal(asked()),
        lambda: issuing.issue(asked()),
        lambda: issuing.preview(asked()),
    ):
        with pytest.raises(UsherError) as caught:
            act()
        assert caught.value.reason is Reason.TOKEN_REVOKED
        assert caught.value.metadata["revoked_by"] == "sub"
        assert "alice" not in caught.value.message
    assert issuing.scope_of_principal(asked(subject="bob")).subject == "bob"


async def test_a_user_who_was_signed_out_may_sign_in_a_second_later() -> None:
    issuing, signer, revocations = await revoking()
    token = issuing.issue(asked()).compact
    await revocations.revoke(By.SUB, "alice", existing_only=True)
    with pytest.raises(UsherError):
        issuing.scope_of_token(token)
    with pytest.raises(UsherError):  # its `iat` would be that of the revocation
        issuing.issue(asked())
    await CLOCK.advance(1)
    fresh = issuing.issue(asked()).compact
    assert issuing.scope_of_token(fresh).subject == "alice"
    assert issuing.scope_of_principal(asked()).subject == "alice"
    with pytest.raises(UsherError):
        signer.verify(token)


async def test_nothing_is_issued_with_a_key_that_is_revoked() -> None:
    issuing, _, revocations = await revoking()
    await revocations.revoke(By.KID, issuing.issue(asked()).kid)
    with pytest.raises(UsherError) as caught:
        issuing.issue(asked())
    assert caught.value.metadata["revoked_by"] == "kid"
    # No token has signed a subject that is named directly.
    assert issuing.scope_of_principal(asked()).kid is None


async def test_issuing_goes_on_while_the_list_cannot_be_read() -> None:
    revocations = Revocations(MemoryRevocations(CLOCK), RevocationSettings(least=3720), CLOCK, Recorder())
    issuing = Issuer(SIGNER, IssuerSettings(issuer=ISSUER), CLOCK, revocations=revocations)
    assert issuing.issue(asked()).compact
    with pytest.raises(UsherError) as caught:
        issuing.scope_of_principal(asked())
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE


def test_postgres_is_told_which_key_signed_and_nobody_else_is() -> None:
    issued = ISSUING.issue(asked())
    scope = ISSUING.scope_of_token(issued.compact)
    assert json.loads(scope.payload_json) == {**scope.payload, "usher_kid": issued.kid}
    assert "usher_kid" not in scope.payload
    assert set(scope.custom) == {"tenant_id"}
    direct = ISSUING.scope_of_principal(asked())
    assert json.loads(direct.payload_json) == direct.payload


@pytest.mark.parametrize(
    "settings",
    [
        IssuerSettings(issuer=""),
        IssuerSettings(issuer="x" * 256),
        IssuerSettings(issuer="i", default_ttl=0),
        IssuerSettings(issuer="i", default_ttl=301, max_ttl=300),
    ],
)
def test_settings_that_cannot_be(settings: IssuerSettings) -> None:
    with pytest.raises(SettingsError):
        settings.validate()


def test_a_scope_of_a_token_has_it_and_one_of_a_principal_has_none() -> None:
    compact = ISSUING.issue(asked()).compact
    scope = ISSUING.scope_of_token(compact)
    assert scope.token == compact
    assert compact not in repr(scope)
    named = ISSUING.scope_of_principal(asked())
    assert named.token is None
    assert ISSUING.scope_of_token(ISSUING.sign(named.payload)).payload == named.payload
