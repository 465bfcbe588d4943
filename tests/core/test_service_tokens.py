"""Service-account tokens: those that hold, and every attack on them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.keys import Algorithm, SigningKey, generate
from sidecar.core.service_tokens import ServiceToken, kid_of, verify
from sidecar.core.trusted_keys import TrustedKey, read_key_set

NOW = 1_900_000_000
ISSUER = "https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:shop:orders"
# As the API server makes them.
CLAIMS: dict[str, Any] = {
    "aud": ["usher"],
    "exp": NOW + 600,
    "iat": NOW - 10,
    "iss": ISSUER,
    "jti": "ed8e1a5c",
    "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders", "uid": "1"}},
    "nbf": NOW - 10,
    "sub": SUBJECT,
}
EC = generate(Algorithm.ES256, 0)
RSA = generate(Algorithm.RS256, 2048)


def trusted(key: SigningKey) -> TrustedKey:
    return read_key_set(json.dumps({"keys": [dict(key.public.jwk)]}).encode())[key.public.kid]


def signed(key: SigningKey = EC, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    return jwt.encode(
        claims,
        key.private,
        algorithm=key.public.algorithm.value,
        headers={"kid": key.public.kid, "typ": None} | (header or {}),
    )


def checked(compact: str, key: SigningKey = EC, now: float = NOW) -> ServiceToken:
    kid_of(compact)
    return verify(compact, trusted(key), issuer=ISSUER, audience="usher", now=now)


def refusal(compact: str, key: SigningKey = EC, now: float = NOW) -> str:
    with pytest.raises(UsherError) as caught:
        checked(compact, key, now)
    assert caught.value.reason is Reason.CALLER_UNAUTHENTICATED
    assert caught.value.metadata == {"proof": "jwt"}
    for part in compact.split("."):
        assert len(part) < 4 or part not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("key", [EC, RSA], ids=["ES256", "RS256"])
def test_a_token_that_holds(key: SigningKey) -> None:
    compact = signed(key)
    assert kid_of(compact) == key.public.kid
    assert checked(compact, key) == ServiceToken(
        issuer=ISSUER,
        subject=SUBJECT,
        expires_at=NOW + 600,
        attributes={"namespace": "shop", "service_account": "orders"},
    )


def test_a_subject_of_another_form_has_no_namespace() -> None:
    for subject in ("robot", "system:serviceaccount:shop", "system:serviceaccount:a:b:c", f"{SUBJECT}\n"):
        token = checked(signed(sub=subject))
        assert (token.subject, token.attributes) == (subject, {})


def test_the_audience_may_be_one_text_or_among_others() -> None:
    assert checked(signed(aud="usher"))
    assert checked(signed(aud=["other", "usher"]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": ...}, "lacks sub or exp"),
        ({"exp": "9999999999"}, "lacks sub or exp"),
        ({"exp": True}, "lacks sub or exp"),
        ({"exp": 1e300}, "lacks sub or exp"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"iat": NOW + 31}, "not valid yet"),
        ({"nbf": "now"}, "not valid yet"),
        ({"aud": ["api"]}, "not meant for this sidecar"),
        ({"aud": "ushers"}, "not meant for this sidecar"),
        ({"aud": []}, "not meant for this sidecar"),
        ({"aud": {"usher": 1}}, "not meant for this sidecar"),
        ({"aud": ...}, "not meant for this sidecar"),
        ({"iss": "https://other"}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"iss": ...}, "another issuer"),
        ({"sub": ...}, "lacks sub or exp"),
        ({"sub": ""}, "lacks sub or exp"),
        ({"sub": [SUBJECT]}, "lacks sub or exp"),
    ],
)
def test_claims_that_do_not_hold(changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(rewritten(**changes))


def rewritten(**changes: Any) -> str:
    """A token with these claims, signed without the library, which checks some of them itself."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    key: Any = EC.private
    return jwt.PyJWS(algorithms=["ES256"]).encode(
        json.dumps(claims).encode(), key, algorithm="ES256", headers={"kid": EC.public.kid}
    )


def test_clocks_may_differ_a_little_before_but_not_after() -> None:
    assert checked(signed(nbf=NOW + 30, iat=NOW + 30))
    assert checked(signed(exp=NOW + 1), now=NOW + 0.9)
    assert "expired" in refusal(signed(exp=NOW + 1), now=NOW + 1.0)


def test_the_wrong_key() -> None:
    assert "signature does not fit" in refusal(signed(generate(Algorithm.ES256, 0)))
    compact = signed()
    broken = compact[:-8] + ("AAAAAAAA" if not compact.endswith("AAAAAAAA") else "BBBBBBBB")
    assert "signature does not fit" in refusal(broken)


def test_the_algorithm_is_the_keys_alone() -> None:
    assert "alg is not the one" in refusal(signed(RSA), EC)
    assert "alg is not the one" in refusal(signed(EC), RSA)


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_no_algorithm_at_all(name: str) -> None:
    compact = f"{encoded({'alg': name, 'kid': EC.public.kid})}.{encoded(CLAIMS)}."
    refusal(compact)
    refusal(compact + "AAAA")


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """Algorithm confusion: HS256 under the bytes of the public key."""
    for key in (EC, RSA):
        pem = key.public.verification_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = f"{encoded({'alg': 'HS256', 'kid': key.public.kid})}.{encoded(CLAIMS)}"
        tag = hmac.new(pem, text.encode(), hashlib.sha256).digest()
        compact = f"{text}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"
        assert "alg is not the one" in refusal(compact, key)


def encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"kid": 7},
        {"kid": ""},
        {"kid": "k" * 513},
        {"kid": None},
        {"kid": ["a"]},
    ],
)
def test_headers_that_are_refused_before_any_key_is_looked_for(header: dict[str, Any]) -> None:
    compact = f"{encoded({'alg': 'ES256', 'kid': 'a'} | header)}.{encoded(CLAIMS)}.AAAA"
    with pytest.raises(UsherError):
        kid_of(compact)


def test_keys_in_the_header_are_not_looked_at() -> None:
    mine = generate(Algorithm.ES256, 0)
    header = {
        "kid": EC.public.kid,
        "jwk": dict(mine.public.jwk),
        "jku": "https://evil",
        "x5u": "https://evil",
    }
    assert "signature does not fit" in refusal(signed(mine, header=header))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c.d",
        "..",
        ".a.b",
        "a.b.c",
        "a b.c.d",
        "e30=.e30.AAAA",
        "e30.e30.AAAA\n",
        "\N{SNOWMAN}.e30.AAAA",
        "W10.e30.AAAA",
        encoded({"kid": "a"}) + "." + "A" * 20_000 + ".AAAA",
        base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + ".e30.AAAA",
    ],
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(UsherError) as caught:
        kid_of(text)
    assert caught.value.metadata == {"proof": "jwt"}


@pytest.mark.parametrize("payload", [b"[]", b"7", b"{", b"\xff", b'{"exp": NaN}', b"[" * 12_000])
def test_a_payload_that_is_no_object(payload: bytes) -> None:
    key: Any = EC.private
    compact = jwt.PyJWS(algorithms=["ES256"]).encode(
        payload, key, algorithm="ES256", headers={"kid": EC.public.kid}
    )
    assert "neither a bearer key nor a compact JWS" in refusal(compact)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    with pytest.raises(UsherError):
        checked(text)
