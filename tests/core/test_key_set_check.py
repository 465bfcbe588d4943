"""Published key sets, judged as Neon's verifier would take them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.diagnosis import Verdict
from sidecar.core.key_set_check import CheckedSet, check_key_set, size_of_set
from sidecar.core.keys import Algorithm, generate, public_half
from sidecar.core.publication import MAX_JWKS_BYTES

EC = dict(generate(Algorithm.ES256, 0).public.jwk)
OTHER = dict(generate(Algorithm.ES256, 0).public.jwk)
RSA = dict(generate(Algorithm.RS256, 2048).public.jwk)
SMALL = dict(public_half(rsa.generate_private_key(65537, 1024)).jwk)


def encoded(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).decode().rstrip("=")


def checked(*keys: Any) -> CheckedSet:
    return check_key_set(json.dumps({"keys": keys}).encode())


def only(found: CheckedSet) -> tuple[str, str]:
    assert len(found.found) == 1, found
    return found.found[0].verdict.value, found.found[0].seen


def test_what_usher_publishes_is_good() -> None:
    found = checked(EC, OTHER, RSA)
    assert only(found) == ("ok", "3 keys, and Neon can use every one")
    assert found.kids == {EC["kid"], OTHER["kid"], RSA["kid"]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object with a list"),
        (b"{}", "no JSON object with a list"),
        (b'{"keys":{}}', "no JSON object with a list"),
        (b'{"keys":[]}', "the set is empty"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_key_set(document: bytes, said: str) -> None:
    found = check_key_set(document)
    assert only(found)[0] == "failed"
    assert said in only(found)[1]
    assert found.kids is None


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (7, "is no object"),
        ({name: value for name, value in EC.items() if name != "kid"}, "has no kid"),
        (EC | {"kid": 7}, "has no kid"),
        (EC | {"use": "enc"}, "is not for signatures"),
        (EC | {"crv": "P-384"}, "is neither P-256 nor RSA"),
        (EC | {"kty": "OKP"}, "is neither P-256 nor RSA"),
        (EC | {"alg": "RS256"}, "has another alg than ES256"),
        (RSA | {"alg": "PS256"}, "has another alg than RS256"),
        (EC | {"x": EC["x"] + "="}, "has no coordinates of 32 bytes"),
        (EC | {"x": encoded(1, 31)}, "has no coordinates of 32 bytes"),
        (EC | {"x": encoded(1, 32), "y": encoded(1, 32)}, "is no point of the curve"),
        (SMALL, "has not between 2048 and 4096 bits"),
        (RSA | {"n": encoded(1 << 4096, 513)}, "has not between 2048 and 4096 bits"),
        (RSA | {"n": None}, "has no modulus"),
        (RSA | {"e": "*"}, "has no modulus or exponent"),
        (RSA | {"e": "A"}, "has no modulus or exponent"),
    ],
)
def test_a_key_that_neon_passes_over(key: Any, why: str) -> None:
    alone = checked(key)
    assert (only(alone)[0], alone.kids) == ("failed", frozenset())
    assert f"Neon can use no key of the set: key 1 {why}" in only(alone)[1]
    beside = checked(OTHER, key)
    assert (only(beside)[0], beside.kids) == ("warning", {OTHER["kid"]})
    assert f"key 2 {why}" in only(beside)[1]


def test_a_private_key_is_a_failure_whatever_else_there_is() -> None:
    found = checked(EC, OTHER | {"d": encoded(5, 32)}).found
    assert [one.verdict for one in found] == [Verdict.FAILED]
    assert "private" in found[0].seen


def test_one_kid_twice() -> None:
    found = checked(EC, OTHER | {"kid": EC["kid"]}).found
    assert [(one.verdict, "one kid" in one.seen) for one in found] == [(Verdict.FAILED, True)]


@pytest.mark.parametrize("name", ["alg", "use"])
def test_what_neon_can_do_without(name: str) -> None:
    found = checked({key: value for key, value in EC.items() if key != name})
    assert only(found) == ("warning", f"keys lack {name}, which Neon can do without")
    assert found.kids == {EC["kid"]}


def test_several_things_are_all_told_and_nothing_of_the_document_is() -> None:
    keys = [{"kty": "canary-kty", "kid": f"canary-{number}"} for number in range(8)]
    found = checked(EC | {"d": "canary"}, EC, *keys).found
    assert [one.verdict.value for one in found] == ["failed", "failed", "warning"]
    assert "and 3 more" in found[-1].seen
    assert "canary" not in str(found)


def test_size() -> None:
    assert size_of_set(420).verdict is Verdict.OK
    assert size_of_set(MAX_JWKS_BYTES * 3 // 4 + 1).verdict is Verdict.WARNING
    assert size_of_set(MAX_JWKS_BYTES).verdict is Verdict.WARNING
    assert size_of_set(MAX_JWKS_BYTES + 1).verdict is Verdict.FAILED
    assert size_of_set(0, whole=False).verdict is Verdict.FAILED
