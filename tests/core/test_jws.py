"""Tokens: two independent libraries read them, and nothing that is not ours gets by."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwcrypto.jwk import JWK
from jwcrypto.jwt import JWT

from sidecar.core import jws
from sidecar.core.claims import to_json
from sidecar.core.errors import Reason, UsherError
from sidecar.core.keys import Algorithm, PublicKey, SigningKey, generate

NOW = 1_900_000_000
ISSUER = "https://issuer.example"
EC_KEY = generate(Algorithm.ES256, 0)
RSA_KEY = generate(Algorithm.RS256, 2048)
KEYS = {key.public.kid: key.public for key in (EC_KEY, RSA_KEY)}


def payload(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": ISSUER,
        "sub": "alice",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 300,
        "jti": "id-1",
        "tenant_id": "acme",
    }
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def verify(compact: str, *, now: float = NOW, audience: str | None = None) -> jws.VerifiedToken:
    return jws.verify(compact, KEYS.get, now=now, issuer=ISSUER, audience=audience)


def refused(compact: str, **options: Any) -> Reason:
    with pytest.raises(UsherError) as caught:
        verify(compact, **options)
    for part in compact.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return caught.value.reason


def segment(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: Any, claims: Any, signature: bytes = b"x" * 64) -> str:
    return ".".join((segment(header), segment(claims), segment(signature)))


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ES256", "RS256"])
def test_two_other_libraries_verify_what_we_sign(key: SigningKey) -> None:
    compact = jws.sign(key, payload())
    assert jwt.get_unverified_header(compact) == {
        "typ": "JWT",
        "alg": key.public.algorithm.value,
        "kid": key.public.kid,
    }
    by_jwcrypto = JWT()
    by_jwcrypto.leeway = 10**10  # it reads the wall clock
    by_jwcrypto.deserialize(compact, JWK(**key.public.jwk))
    assert json.loads(by_jwcrypto.claims) == payload()
    key_set = KeySet.import_key_set({"keys": [dict(public.jwk) for public in KEYS.values()]})
    by_joserfc = joserfc_jwt.decode(compact, key_set, algorithms=["ES256", "RS256"])
    assert by_joserfc.claims == payload()


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ES256", "RS256"])
@given(st.dictionaries(st.text(), JSON))
def test_what_is_signed_is_what_pyjwt_would_sign(key: SigningKey, claims: dict[str, Any]) -> None:
    compact = jws.sign(key, claims)
    algorithm = key.public.algorithm.value
    library = jwt.PyJWS(algorithms=[algorithm])
    theirs = library.encode(to_json(claims), key.private, algorithm, {"kid": key.public.kid})
    assert compact.rpartition(".")[0] == theirs.rpartition(".")[0]
    if key is RSA_KEY:  # PKCS #1 v1.5 has one signature for a text, ECDSA many
        assert compact == theirs
    assert library.decode(compact, key.public.verification_key, [algorithm]) == to_json(claims)


def test_numbers_of_a_signature_keep_their_leading_zeros() -> None:
    """One in 128 signatures has a number that would fit in fewer bytes (RFC 7518 section 3.4)."""
    signatures = [jws.sign(EC_KEY, {}).rpartition(".")[2] for _ in range(1000)]
    assert {len(signature) for signature in signatures} == {86}


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ES256", "RS256"])
def test_our_own_tokens_hold(key: SigningKey) -> None:
    verified = verify(jws.sign(key, payload()))
    assert verified == jws.VerifiedToken(
        claims=payload(),
        subject="alice",
        jti="id-1",
        issued_at=NOW,
        expires_at=NOW + 300,
        kid=key.public.kid,
        alg=key.public.algorithm.value,
    )


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW - 31, Reason.TOKEN_NOT_YET_VALID),
        (NOW - 30, None),
        (NOW, None),
        (NOW + 299, None),
        (NOW + 299.999, None),
        (NOW + 300, Reason.TOKEN_EXPIRED),
        (NOW + 301, Reason.TOKEN_EXPIRED),
    ],
)
def test_the_edges_of_validity(now: float, reason: Reason | None) -> None:
    compact = jws.sign(EC_KEY, payload())
    if reason is None:
        verify(compact, now=now)
    else:
        assert refused(compact, now=now) is reason


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_alg_none_is_refused(algorithm: str) -> None:
    header = {"typ": "JWT", "alg": algorithm, "kid": EC_KEY.public.kid}
    assert refused(f"{segment(header)}.{segment(payload())}.") is Reason.TOKEN_ALGORITHM_REFUSED


def test_the_algorithm_of_the_header_is_not_trusted() -> None:
    """RFC 8725 section 3.1: an RSA key's public half must not become an HMAC secret."""
    signed = f"{segment({'alg': 'HS256', 'kid': RSA_KEY.public.kid})}.{segment(payload())}"
    public_half = RSA_KEY.public.verification_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    confused = f"{signed}.{segment(hmac.digest(public_half, signed.encode(), 'sha256'))}"
    assert refused(confused) is Reason.TOKEN_ALGORITHM_REFUSED
    for alg, key in (("RS256", EC_KEY), ("ES256", RSA_KEY), ("RS512", RSA_KEY), ("ES384", EC_KEY)):
        assert (
            refused(forged({"alg": alg, "kid": key.public.kid}, payload())) is Reason.TOKEN_ALGORITHM_REFUSED
        )


def test_swapped_kid_and_unknown_kid() -> None:
    other = generate(Algorithm.ES256, 0)
    stranger = jws.sign(other, payload())
    assert refused(stranger) is Reason.TOKEN_KEY_UNKNOWN
    as_ours = {"alg": "ES256", "kid": EC_KEY.public.kid}
    swapped = ".".join((segment(as_ours), *stranger.split(".")[1:]))
    assert refused(swapped) is Reason.TOKEN_SIGNATURE_INVALID
    for kid in (None, 7, "", ["x"], {"a": 1}, "../../etc/passwd", "' OR 1=1 --"):
        assert refused(forged({"alg": "ES256", "kid": kid}, payload())) is Reason.TOKEN_KEY_UNKNOWN
    assert refused(forged({"alg": "ES256"}, payload())) is Reason.TOKEN_KEY_UNKNOWN


def test_keys_carried_in_the_header_are_ignored() -> None:
    other = generate(Algorithm.ES256, 0)
    compact = jwt.PyJWS(algorithms=["ES256"]).encode(
        json.dumps(payload()).encode(),
        other.private,
        "ES256",
        {"kid": EC_KEY.public.kid, "jwk": dict(other.public.jwk), "jku": "https://evil.example/jwks.json"},
    )
    assert refused(compact) is Reason.TOKEN_SIGNATURE_INVALID


def test_critical_extensions_are_refused() -> None:
    compact = jwt.PyJWS(algorithms=["ES256"]).encode(
        json.dumps(payload()).encode(), EC_KEY.private, "ES256", {"kid": EC_KEY.public.kid, "crit": ["exp"]}
    )
    assert refused(compact) is Reason.TOKEN_MALFORMED


def test_another_issuer_is_refused_even_with_our_key() -> None:
    for issuer in ("https://other.example", "", None, [ISSUER], ...):
        assert refused(jws.sign(EC_KEY, payload(iss=issuer))) is Reason.TOKEN_ISSUER_MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": float(NOW + 300)},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"nbf": ...},
        {"iat": None},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"jti": 7},
        {"jti": ...},
    ],
)
def test_claims_that_every_token_of_ours_has(changes: dict[str, Any]) -> None:
    assert refused(jws.sign(EC_KEY, payload(**changes))) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"a": 2**60},
        {"a": "\ud800"},
        {"a": {"\ud800": 1}},
        {"a": "\0"},
        {"\ud800": 1},
        {"a": json.loads("[" * 20 + "]" * 20)},
        {"exp": 253_402_300_800},
        {"exp": 10**300},
        {"iat": -1},
        {"nbf": -(10**300)},
        {"jti": "\udfff"},
    ],
)
def test_signed_claims_that_could_not_be_written_down_again(changes: dict[str, Any]) -> None:
    """No token of ours has them: IssueToken refuses them, so they tell of a key in other hands."""
    content = json.dumps(payload(**changes)).encode()
    compact = jwt.PyJWS(algorithms=["ES256"]).encode(
        content, EC_KEY.private, "ES256", {"kid": EC_KEY.public.kid}
    )
    assert refused(compact) is Reason.TOKEN_MALFORMED


def test_audience() -> None:
    one, many, none = (jws.sign(EC_KEY, payload(aud=aud)) for aud in ("a", ["a", "b"], ...))
    for compact in (one, many, none):
        verify(compact)
    verify(one, audience="a")
    verify(many, audience="b")
    for compact, audience in ((one, "b"), (one, "A"), (many, "c"), (none, "a"), (one, "")):
        assert refused(compact, audience=audience) is Reason.TOKEN_AUDIENCE_MISMATCH


@pytest.mark.parametrize(
    "compact",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d.e",
        "é.b.c",
        "=.=.=",
        "e30.e30.",
        forged([], payload()),
        forged({"alg": 7}, payload()),
        forged(b"[" * 8000, payload()),
        forged({"alg": "ES256", "kid": EC_KEY.public.kid}, payload()) + "\n",
        "x" * 20_000,
        "x." * 2 + "y" * 20_000,
    ],
)
def test_what_is_no_token(compact: str) -> None:
    assert refused(compact) in {Reason.TOKEN_MALFORMED, Reason.TOKEN_SIGNATURE_INVALID}


def test_a_signed_payload_that_is_no_object_of_claims() -> None:
    for content in (b"7", b'"text"', b"[]", b"null", b"{", b"\xff", b"[" * 5000, b'{"exp":NaN}'):
        compact = jwt.PyJWS(algorithms=["ES256"]).encode(
            content, EC_KEY.private, "ES256", {"kid": EC_KEY.public.kid}
        )
        assert refused(compact) is Reason.TOKEN_MALFORMED


@given(
    st.integers(0, 10_000),
    st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
)
def test_no_changed_character_passes(position: int, character: str) -> None:
    compact = jws.sign(EC_KEY, payload())
    position %= len(compact)
    changed = compact[:position] + character + compact[position + 1 :]
    if changed == compact:
        return
    refused(changed)


def test_a_token_has_one_text_only() -> None:
    """Padding and stray bits would decode to the same bytes."""
    compact = jws.sign(EC_KEY, payload())
    for position in range(3):
        segments = compact.split(".")
        segments[position] += "=" * (-len(segments[position]) % 4 or 4)
        assert refused(".".join(segments)) is Reason.TOKEN_MALFORMED
    assert compact[-1] in "AQgw", "64 bytes of signature leave 4 bits of the last character unused"
    assert refused(compact[:-1] + chr(ord(compact[-1]) + 1)) is Reason.TOKEN_MALFORMED


def test_a_refusal_names_the_field_that_held_the_token() -> None:
    for path in ("token", "scope.token"):
        with pytest.raises(UsherError) as caught:
            jws.verify("x", KEYS.get, now=NOW, issuer=ISSUER, audience=None, path=path)
        assert caught.value.metadata == {"field": path}
        assert caught.value.message.startswith(f"{path}: ")


@given(st.text(max_size=200) | st.text("abc.{}=-_ey", max_size=60))
def test_any_text_is_refused_with_a_reason(text: str) -> None:
    def no_key(kid: str) -> PublicKey | None:
        return None

    with pytest.raises(UsherError) as caught:
        jws.verify(text, no_key, now=NOW, issuer=ISSUER, audience=None)
    assert caught.value.reason.value.startswith("TOKEN_")
