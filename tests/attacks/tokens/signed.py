"""Tokens with a valid signature of a published key, and tokens of keys that are not."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from sidecar.core.errors import Reason
from sidecar.core.keys import Algorithm, SigningKey, generate
from tests.attacks.tokens.vectors import (
    ALGORITHM,
    MALFORMED,
    SIGNATURE,
    UNKNOWN,
    Vector,
    accepted,
    encode,
    refused,
)

_JWS = jwt.PyJWS(algorithms=["ES256", "RS256"])
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


def signed(key: SigningKey, content: Any, **header: Any) -> str:
    """A token of this key, whatever it holds."""
    octets = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"kid": key.public.kid} | header
    compact: str = _JWS.encode(octets, key.private, key.public.algorithm.value, fields)
    return compact


def of_strangers(key: SigningKey, others: SigningKey, claims: Mapping[str, Any]) -> Iterator[Vector]:
    """Keys that the token brings along, and keys taken for others. `others`: published too."""
    stranger = generate(Algorithm.ES256, 0)
    ours, theirs = key.public, stranger.public
    yield refused("stranger's key", signed(stranger, claims), UNKNOWN)
    if ours.algorithm is theirs.algorithm:
        yield refused("stranger's key, our kid", signed(stranger, claims, kid=ours.kid), SIGNATURE)
    yield refused(
        "our key, the other's kid", signed(key, claims, kid=others.public.kid), SIGNATURE, ALGORITHM
    )
    for name, extra in {
        "jwk": {"jwk": dict(theirs.jwk)},
        "jwk with our kid": {"jwk": dict(theirs.jwk) | {"kid": ours.kid}},
        "jku": {"jku": "http://127.0.0.1:9/jwks.json"},
        "jku with user": {"jku": "https://issuer.example@evil.example/jwks.json"},
        "x5u": {"x5u": "http://127.0.0.1:9/cert.pem"},
        "x5c": {"x5c": ["MIIBszCCAVmgAwIBAgIUe"]},
        "all": {"jwk": dict(theirs.jwk), "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/"},
    }.items():
        yield refused(f"stranger's key brought along: {name}", signed(stranger, claims, **extra), UNKNOWN)
        brought = signed(stranger, claims, **extra, kid=ours.kid)
        yield refused(f"brought along under our kid: {name}", brought, SIGNATURE, ALGORITHM)
        yield accepted(f"in a genuine header: {name}", signed(key, claims, **extra))
    yield from _confused(key, claims)


def _confused(key: SigningKey, claims: Mapping[str, Any]) -> Iterator[Vector]:
    """Our public half as the secret of an HMAC (RFC 8725 section 2.1)."""
    public = key.public.verification_key
    secrets = {
        "PEM": public.public_bytes(_PEM, _PUBLIC),
        "PEM without its end": public.public_bytes(_PEM, _PUBLIC).strip(),
        "DER": public.public_bytes(_DER, _PUBLIC),
        "JWK": json.dumps(dict(key.public.jwk)).encode(),
        "kid": key.public.kid.encode(),
        "nothing": b"",
    }
    for alg in ("HS256", "HS384", "HS512", key.public.algorithm.value):
        for name, secret in secrets.items():
            start = f"{encode({'alg': alg, 'kid': key.public.kid})}.{encode(dict(claims))}"
            digest = hmac.digest(secret, start.encode(), f"sha{alg[2:]}")
            forged = f"{start}.{encode(digest)}"
            yield refused(f"{alg} by our {name}", forged, ALGORITHM, SIGNATURE)


def of_claims(key: SigningKey, claims: Mapping[str, Any]) -> Iterator[Vector]:
    """Claims that a token of ours could not have, though our key has signed them."""

    def changed(name: str, value: Any, *reasons: Reason) -> Vector:
        content = {k: v for k, v in (dict(claims) | {name: value}).items() if v is not ...}
        shown = "left out" if value is ... else repr(value)[:40]
        return refused(f"{name}: {shown}", signed(key, content), *reasons)

    exp = claims["exp"]
    for name in ("exp", "nbf", "iat"):
        for value in (..., None, True, str(exp), float(exp), exp + 0.5, [exp], {"a": exp}, "", "never"):
            yield changed(name, value, MALFORMED)
    for value in (0, -1, -(2**63), 1, claims["iat"] - 1):
        yield changed("exp", value, Reason.TOKEN_EXPIRED, MALFORMED)
    for value in (exp + 86_400 * 400, 2**53, 2**63, 10**300):
        yield changed("nbf", value, Reason.TOKEN_NOT_YET_VALID, MALFORMED)
    for name in ("sub", "jti"):
        for value in (..., None, "", 7, True, ["alice"], {"a": 1}):
            yield changed(name, value, MALFORMED)
    iss = claims["iss"]
    for value in (
        ...,
        None,
        "",
        7,
        [iss],
        {"a": iss},
        iss + "/",
        iss.upper(),
        f" {iss}",
        iss.replace("s:", ":"),
    ):
        yield changed("iss", value, Reason.TOKEN_ISSUER_MISMATCH)
    for content in (
        *(b"", b"null", b"7", b"true", b'"text"', b"[]", b"{", b"}", b"\xff", b"\xfe\xff\0{\0}", b"\0"),
        *(b"[" * 5000, b'{"a":' * 2000, json.dumps([dict(claims)]).encode()),
        *(
            json.dumps(dict(claims)).encode()[:-1] + tail
            for tail in (b',"a":NaN}', b',"a":-Infinity}', b"}}")
        ),
        json.dumps(dict(claims)).encode()[:-1] + b',"a":"\xff"}',
    ):
        yield refused(f"payload: {content[-12:]!r}", signed(key, content), MALFORMED)
    text = json.dumps(dict(claims))
    twice = text[:-1] + ',"sub":"' + claims["sub"] + '"}'
    yield accepted("payload: sub twice", signed(key, twice.encode()))
    yield accepted("payload: white space", signed(key, json.dumps(dict(claims), indent=4).encode()))
    yield accepted("exp far away", signed(key, dict(claims) | {"exp": 253_402_300_799}))
    yield accepted("aud in an array", signed(key, dict(claims) | {"aud": ["a", "b"]}))
    for critical in (["exp"], ["b64"], [], "x"):
        yield refused(f"crit {critical!r}, signed", signed(key, claims, crit=critical), MALFORMED)


def of_odd_claims(key: SigningKey, claims: Mapping[str, Any]) -> Iterator[str]:
    """Signed claims that cannot come from IssueToken. They may cause no fault."""
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    text = json.dumps(dict(claims))[:-1]
    for tail in (
        *('"a":"\\ud800"', '"\\ud800":1', '"a":"\\u0000"', '"":""', '"a":1e400', '"a":' + "9" * 400),
        *('"a":' + "9" * 5000, f'"a":{json.dumps(deep)}', '"exp":1' + "0" * 4400, '"a":-0.0', '"a":1e-400'),
        *('"aud":[["a"]]', '"aud":{"a":1}', '"aud":7', '"iat":' + "9" * 300, '"iat":-62135596801'),
        *('"exp":253402300800', '"exp":9223372036854775808', '"exp":' + "9" * 300, '"nbf":-' + "9" * 300),
        *('"a":"' + "x" * 9000 + '"', '"a":' + "[" * 400 + "]" * 400, '"sub":"\\u0000"', '"jti":"\\udfff"'),
    ):
        yield signed(key, f"{text},{tail}}}".encode("utf-8", "surrogatepass"))
