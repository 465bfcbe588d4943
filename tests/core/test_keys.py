"""Keys: thumbprints, JWKs and what is published of a key."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, RSAKey
from jwcrypto.jwk import JWK

from sidecar.core.keys import Algorithm, SigningKey, generate, public_half, thumbprint


def test_the_example_of_rfc_7638() -> None:
    """RFC 7638 section 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    assert (
        thumbprint({"e": "AQAB", "kty": "RSA", "n": modulus}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )


@pytest.fixture(
    scope="module", params=[(Algorithm.ES256, 0), (Algorithm.RS256, 2048), (Algorithm.RS256, 3072)]
)
def key(request: pytest.FixtureRequest) -> SigningKey:
    algorithm, bits = request.param
    return generate(algorithm, bits)


def test_kid_is_the_thumbprint_that_other_libraries_compute(key: SigningKey) -> None:
    jwk = dict(key.public.jwk)
    assert JWK(**jwk).thumbprint() == key.public.kid
    imported = (ECKey if jwk["kty"] == "EC" else RSAKey).import_key(jwk)
    assert imported.thumbprint() == key.public.kid


def test_the_jwk_has_what_verifiers_ask_for_and_nothing_private(key: SigningKey) -> None:
    jwk = key.public.jwk
    assert jwk["use"] == "sig"
    assert jwk["alg"] == key.public.algorithm.value
    assert jwk["kid"] == key.public.kid
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(jwk)
    assert all("=" not in value for value in jwk.values())
    assert json.loads(json.dumps(dict(jwk))) == jwk


def test_coordinates_keep_their_leading_zeros() -> None:
    """RFC 7518 section 6.2.1.2: always 32 bytes, which is 43 characters."""
    for secret in range(1, 400):
        jwk = public_half(ec.derive_private_key(secret, ec.SECP256R1())).jwk
        assert len(jwk["x"]) == len(jwk["y"]) == 43


def test_the_private_half_does_not_show(key: SigningKey) -> None:
    assert "private" not in repr(key)
