"""Fuzzes the reader of tokens: headers and texts of anybody, and claims under a genuine signature."""

from __future__ import annotations

import json
import sys
from typing import Final

from tests.fuzz import engine

with engine.instrumented():
    import jwt
    from usher.v1 import token_service_pb2

    from sidecar.core import jws
    from sidecar.core.errors import UsherError
    from sidecar.core.issuer import Scope
    from sidecar.core.keys import Algorithm, generate
    from sidecar.services.convert import dict_to_struct, timestamp

NOW: Final = 1_900_000_000
ISSUER: Final = "https://issuer.example"
KEY: Final = generate(Algorithm.ES256, 0)
KEYS: Final = {KEY.public.kid: KEY.public}
CLAIMS: Final = {
    "iss": ISSUER,
    "sub": "alice",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 300,
    "jti": "id-1",
    "tenant_id": "acme",
    "aud": ["a"],
    "levels": [1, 2.5, None, {"deep": [True]}],
}
GENUINE: Final = jws.sign(KEY, CLAIMS)
_JWS: Final = jwt.PyJWS(algorithms=["ES256"])

SEEDS: Final = (
    b"t" + GENUINE.encode(),
    b"t..",
    b"h" + json.dumps({"alg": "ES256", "kid": KEY.public.kid}).encode(),
    b'h{"alg":"none"}',
    b'h{"alg":"HS256","kid":"../x","crit":["b64"],"b64":false,"jwk":{}}',
    b"c" + json.dumps(CLAIMS).encode(),
    b'c{"exp":1e999,"a":NaN}',
    b"s" + b"\0" * 64,
)
"""The first letter says what the rest is: a token, a header, claims to sign, or a signature."""


def one(data: bytes) -> None:
    """No text but a genuine one may hold, and nothing but a refusal with a TOKEN reason may be raised."""
    kind, rest = data[:1], data[1:]
    _, payload, signature = GENUINE.split(".")
    if kind == b"c":
        _signed(_JWS.encode(rest, KEY.private, "ES256", {"kid": KEY.public.kid}))
    elif kind == b"h":
        _refused(f"{engine.base64url(rest)}.{payload}.{signature}")
    elif kind == b"s":
        _refused(f"{GENUINE.rpartition('.')[0]}.{engine.base64url(rest)}")
    else:
        _refused(rest.decode("utf-8", "replace"))


def _refused(token: str) -> None:
    try:
        jws.verify(token, KEYS.get, now=NOW, issuer=ISSUER, audience=None)
    except UsherError as error:
        _fits(error)
    else:
        assert token == GENUINE, "a forged token holds"


def _signed(token: str) -> None:
    """What holds must fit a response, and a scope."""
    try:
        verified = jws.verify(token, KEYS.get, now=NOW, issuer=ISSUER, audience=None)
    except UsherError as error:
        _fits(error)
        return
    token_service_pb2.VerifyTokenResponse(
        claims=dict_to_struct(verified.claims),
        subject=verified.subject,
        jti=verified.jti,
        issue_time=timestamp(verified.issued_at),
        expire_time=timestamp(verified.expires_at),
    ).SerializeToString()
    text = Scope(subject=verified.subject, payload=verified.claims).payload_json
    assert json.loads(text) == verified.claims


def _fits(error: UsherError) -> None:
    assert error.reason.value.startswith("TOKEN_"), error.reason


if __name__ == "__main__":
    sys.exit(engine.main(one, SEEDS))
