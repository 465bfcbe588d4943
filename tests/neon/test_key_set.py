"""Which keys of a set survive, and what signatures they accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sidecar.core import keyring
from sidecar.core.keys import Algorithm, generate
from tests.neon import refusals
from tests.neon.key_set import MAX_SET_BYTES, BadSetError, SetKey, base64url, read_set
from tests.neon.making import ec_key, jwk_of, key_set, rsa_key, token
from tests.neon.refusals import RefusedError

P256, RSA = ec_key(), rsa_key()
GOOD = jwk_of(P256, "good")


def kids(*keys: Any, **others: Any) -> list[str | None]:
    return [key.kid for key in read_set(key_set(*keys, **others))]


def refusal(key: dict[str, Any], compact: str, alg: str) -> str | None:
    signed, _, signature = compact.rpartition(".")
    try:
        SetKey(key).check(signed.encode(), base64url(signature), alg)
    except RefusedError as error:
        return error.text
    return None


@pytest.mark.parametrize(
    "bad",
    [
        {"kty": "new", "kid": "bad"},
        GOOD | {"kid": "bad", "alg": "RSA-OAEP"},
        GOOD | {"kid": "bad", "use": "else"},
        GOOD | {"kid": "bad", "use": "enc"},
        GOOD | {"kid": "bad", "key_ops": ["dance"]},
        GOOD | {"kid": "bad", "x": GOOD["x"] + "="},
        GOOD | {"kid": "bad", "crv": "P-257"},
        GOOD | {"kid": 1},
        {name: value for name, value in GOOD.items() if name != "y"},
        "no object",
    ],
)
def test_a_key_that_cannot_be_read_or_is_for_no_signature_is_left_out_and_the_others_stay(bad: Any) -> None:
    assert kids(bad, GOOD) == ["good"]


def test_use_may_be_absent_and_key_ops_are_read_but_not_heeded() -> None:
    assert kids(GOOD | {"use": "sig"}, GOOD | {"kid": "two", "key_ops": ["encrypt"]}, more=1) == [
        "good",
        "two",
    ]
    assert kids({name: value for name, value in GOOD.items() if name != "kid"}) == [None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b"{}",
        b'{"keys": [NaN]}',
        key_set(GOOD | {"use": "enc"}),
    ],
)
def test_a_document_without_a_usable_key_is_none(body: bytes) -> None:
    with pytest.raises(BadSetError):
        read_set(body)


def test_the_largest_document() -> None:
    whole = key_set(GOOD, pad="")
    full = key_set(GOOD, pad="x" * (MAX_SET_BYTES - len(whole)))
    assert len(full) == MAX_SET_BYTES == 65_536
    assert read_set(full)
    with pytest.raises(BadSetError):
        read_set(full + b" ")


def test_the_two_algorithms_that_are_accepted() -> None:
    assert refusal(GOOD, token(P256, "good"), "ES256") is None
    for alg in (None, "RS256"):
        assert refusal(jwk_of(RSA, "r", alg=alg), token(RSA, "r", alg="RS256"), "RS256") is None


def test_a_signature_of_another_key_or_of_another_shape() -> None:
    assert refusal(GOOD, token(ec_key(), "good"), "ES256") == refusals.SIGNATURE
    assert refusal(jwk_of(RSA, "r"), token(rsa_key(), "r", alg="RS256"), "RS256") == refusals.SIGNATURE
    assert refusal(GOOD, token(P256, "good")[:-6], "ES256") == refusals.SIGNATURE


@pytest.mark.parametrize(
    ("own", "header", "text"),
    [
        ("ES256", "ES384", refusals.ALGORITHM),
        (None, "ES384", refusals.ALGORITHM),
        (None, "RS256", refusals.ALGORITHM),
        (None, "none", refusals.ALGORITHM),
        (None, "HS256", refusals.ALGORITHM),
        ("RS256", "ES256", refusals.ALGORITHM),
    ],
)
def test_the_header_must_name_the_algorithm_of_the_key(own: str | None, header: str, text: str) -> None:
    assert refusal(jwk_of(P256, "k", alg=own), token(P256, "k"), header) == text


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256"])
def test_no_other_algorithm_of_rsa(alg: str) -> None:
    compact = token(RSA, "r", alg=alg)
    assert refusal(jwk_of(RSA, "r"), compact, alg) == refusals.INVALID_RSA_ALGORITHM
    assert refusal(jwk_of(RSA, "r", alg=alg), compact, alg) == refusals.INVALID_RSA_ALGORITHM
    assert refusal(jwk_of(RSA, "r", alg="RS256"), compact, alg) == refusals.ALGORITHM


def test_sizes_of_rsa() -> None:
    small, large = rsa_key(1024), rsa_key(4104)
    assert refusal(jwk_of(small, "r"), token(RSA, "r", alg="RS256"), "RS256") == refusals.ALGORITHM
    assert refusal(jwk_of(large, "r"), token(large, "r", alg="RS256"), "RS256") == refusals.INVALID_RSA_KEY
    largest = rsa_key(4096)
    assert refusal(jwk_of(largest, "r"), token(largest, "r", alg="RS256"), "RS256") is None


def test_other_curves_and_types() -> None:
    p384 = ec_key(ec.SECP384R1)
    assert (
        refusal(jwk_of(p384, "k"), token(p384, "k", alg="ES384"), "ES384") == "unsupported EC key type P-384"
    )
    okp = {"kty": "OKP", "crv": "Ed25519", "x": GOOD["x"], "kid": "o"}
    secret = {"kty": "oct", "k": GOOD["x"], "kid": "s"}
    assert kids(okp, secret) == ["o", "s"]
    ed = ed25519.Ed25519PrivateKey.generate()
    assert refusal(okp, token(ed, "o", alg="EdDSA"), "EdDSA") == "unsupported key type OKP"
    assert refusal(secret, token(b"k" * 32, "s", alg="HS256"), "HS256") == "unsupported key type oct"


@pytest.mark.parametrize("x", ["AAAA", GOOD["y"]])
def test_coordinates_have_32_bytes_and_lie_on_the_curve(x: str) -> None:
    assert refusal(GOOD | {"x": x, "y": GOOD["x"]}, token(P256, "good"), "ES256") == refusals.INVALID_P256_KEY


@pytest.mark.parametrize("text", ["AB", "AA==", "A", "A+/A", "ä"])
def test_only_the_canonical_form_of_base64url(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        base64url(text)


def test_a_set_as_usher_publishes_it() -> None:
    ring, _ = keyring.begin(generate(Algorithm.ES256, 0), generate(Algorithm.RS256, 2048), 0.0)
    body = keyring.publish(ring, keyring.RotationSettings()).body
    assert [key.kid for key in read_set(body)] == [jwk["kid"] for jwk in json.loads(body)["keys"]]
