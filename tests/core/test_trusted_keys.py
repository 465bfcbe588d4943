"""Key sets of other issuers: what is used, what is passed over, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey

from sidecar.core.keys import Algorithm, generate, public_half
from sidecar.core.trusted_keys import MAX_KEYS, MAX_SET_BYTES, read_key_set

EC = dict(generate(Algorithm.ES256, 0).public.jwk)
RSA = dict(generate(Algorithm.RS256, 2048).public.jwk)


def document(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": list(keys)} | more).encode()


def without(key: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in key.items() if name not in names}


def test_both_kinds_are_found_by_kid() -> None:
    found = read_key_set(document(EC, RSA, more=1))
    assert {kid: key.algorithm for kid, key in found.items()} == {
        EC["kid"]: Algorithm.ES256,
        RSA["kid"]: Algorithm.RS256,
    }


def test_a_key_is_the_one_that_was_published() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = dict(public_half(private).jwk)
    assert read_key_set(document(jwk))[jwk["kid"]].verification_key == private.public_key()


def test_use_and_alg_may_be_absent() -> None:
    assert set(read_key_set(document(without(EC, "use", "alg")))) == {EC["kid"]}


@pytest.mark.parametrize(
    "other",
    [
        EC | {"kid": "a", "use": "enc"},
        EC | {"kid": "a", "alg": "ES384"},
        RSA | {"kid": "a", "alg": "PS256"},
        RSA | {"kid": "a", "alg": "HS256"},
        without(EC, "kid"),
        EC | {"kid": ""},
        EC | {"kid": 7},
        EC | {"kid": "a", "d": "AQAB"},
        EC | {"kid": "a", "crv": "P-384"},
        EC | {"kid": "a", "x": EC["y"], "y": EC["x"]},
        EC | {"kid": "a", "x": ""},
        EC | {"kid": "a", "x": "="},
        EC | {"kid": "a", "x": 5},
        without(EC, "y", "kid") | {"kid": "a"},
        RSA | {"kid": "a", "e": "AA"},
        RSA | {"kid": "a", "e": "AQ" * 40},
        RSA | {"kid": "a", "n": "AQAB"},
        without(RSA, "n", "kid") | {"kid": "a"},
        RSA | {"kid": "a", "n": RSA["n"][: 1024 // 6]},
        ECKey.generate_key("secp256k1", {"kid": "a"}).as_dict(private=False),
        OKPKey.generate_key("Ed25519", {"kid": "a"}).as_dict(private=False),
        OctKey.generate_key(256, {"kid": "a"}).as_dict(),
        {"kid": "a", "kty": "new"},
        {},
        [],
        None,
    ],
)
def test_any_other_member_is_passed_over(other: Any) -> None:
    assert set(read_key_set(document(other, RSA))) == {RSA["kid"]}
    with pytest.raises(ValueError, match="no key"):
        read_key_set(document(other))


def test_two_keys_with_one_kid_are_none() -> None:
    twin = RSA | {"kid": EC["kid"]}
    assert set(read_key_set(document(EC, twin, RSA))) == {RSA["kid"]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list"),
        (b"{}", "no list"),
        (b'{"keys":{}}', "no list"),
        (document(*[EC] * (MAX_KEYS + 1)), "no list of at most"),
        (document(EC, pad="x" * MAX_SET_BYTES), "more than"),
        (document(), "no key"),
    ],
)
def test_what_is_no_key_set(data: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_key_set(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({name: st.just(value) | JSON for name, value in {**EC, **RSA}.items()}))
def test_nothing_else_comes_out(member: dict[str, Any]) -> None:
    try:
        found = read_key_set(document(member))
    except ValueError:
        return
    assert set(found) == {member["kid"]}
