"""Tokens as compact JWS (RFC 7515): sign, and verify with the algorithm pinned to the key.

The algorithm of a token's header is never trusted: it must be the one of the key that `kid` names
(RFC 8725 sections 3.1 and 3.2). Times are checked here and not by the library, whose clock cannot be given.

PyJWT verifies. What is signed is put together here, as PyJWT would: it makes the header anew for each token,
which is a third of what an ES256 token costs beside its signature.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sidecar.core.claims import REGISTERED, Json, custom_claims, to_json
from sidecar.core.errors import Reason, UsherError
from sidecar.core.keys import PrivateKey, PublicKey, SigningKey, base64url

MAX_TOKEN_BYTES: Final = 16_384
"""Longest token that is looked at; those issued here stay below 12 KiB."""

NOT_BEFORE_LEEWAY_SECONDS: Final = 30
"""A clock that is set back a little must not make a fresh token wait. `exp` has no leeway."""

LATEST: Final = 253_402_300_799
"""The last second of the year 9999, the latest that a Timestamp can tell."""

# No `jwt.decode`: it reads the wall clock. PyJWS checks signatures alone.
_JWS: Final = jwt.PyJWS(algorithms=["ES256", "RS256"])

# Three texts in base64url without padding (RFC 7515 sections 2 and 7.1). The bits that a last character has
# to spare are zero (RFC 4648 section 3.5): one token has one text, so that a list of texts can refuse it.
_SEGMENT: Final = r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_COMPACT: Final = re.compile(rf"{_SEGMENT}\.{_SEGMENT}\.{_SEGMENT}")

_ES256: Final = ec.ECDSA(hashes.SHA256())
_ES256_NUMBER_BYTES: Final = 32
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()

FindKey = Callable[[str], PublicKey | None]
"""Finds a published key by its kid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    """A token that holds: all its claims, the registered ones by name, and the key that signed it."""

    claims: Mapping[str, Json]
    subject: str
    jti: str
    issued_at: int
    expires_at: int
    kid: str
    alg: str


def sign(key: SigningKey, payload: Mapping[str, Json]) -> str:
    """The compact JWS of a payload; its header has `typ`, `alg` and `kid`."""
    return sign_json(key, to_json(payload))


def sign_json(key: SigningKey, payload_json: bytes) -> str:
    """The same of a payload that is JSON already."""
    signed = f"{key.public.jws_header}.{base64url(payload_json)}"
    return f"{signed}.{base64url(_signature(key.private, signed.encode('ascii')))}"


def _signature(private: PrivateKey, signed: bytes) -> bytes:
    """RFC 7518 sections 3.3 and 3.4."""
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(signed, _PKCS1, _SHA256)
    # A JWS holds the two numbers side by side, where the library gives them in DER.
    r, s = decode_dss_signature(private.sign(signed, _ES256))
    return r.to_bytes(_ES256_NUMBER_BYTES, "big") + s.to_bytes(_ES256_NUMBER_BYTES, "big")


def verify(
    compact: str,
    find_key: FindKey,
    *,
    now: float,
    issuer: str,
    audience: str | None,
    path: str = "token",
) -> VerifiedToken:
    """Checks a token of this issuer at the time `now` (seconds since 1970).

    Raises UsherError with one of the TOKEN reasons; its field is `path`, the token's place in the request
    message, and it never repeats any part of the token.
    """
    try:
        return _verify(compact, find_key, now, issuer, audience)
    except UsherError as error:
        raise UsherError(error.reason, f"{path}: {error.message}", {"field": path}) from None


def _verify(compact: str, find_key: FindKey, now: float, issuer: str, audience: str | None) -> VerifiedToken:
    key = _named_key(_header(compact), find_key)
    try:
        decoded = _JWS.decode(compact, key.verification_key, algorithms=[key.algorithm.value])
        claims = json.loads(decoded, parse_constant=_refuse_constant)
    except jwt.InvalidSignatureError:
        raise _refused(
            Reason.TOKEN_SIGNATURE_INVALID, "the signature does not fit the key that kid names"
        ) from None
    except jwt.InvalidAlgorithmError:
        raise _algorithm_refused() from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(claims, dict):
        raise _malformed()
    _check_registered(claims, now, issuer, audience)
    _check_plain(claims)
    return VerifiedToken(
        claims=claims,
        subject=claims["sub"],
        jti=claims["jti"],
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        kid=key.kid,
        alg=key.algorithm.value,
    )


def _header(compact: str) -> dict[str, Any]:
    if len(compact) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(compact):
        raise _malformed()
    encoded = compact.split(".", 1)[0]
    try:
        header = json.loads(base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _malformed() from None
    if not isinstance(header, dict):
        raise _malformed()
    if "crit" in header:
        # Usher issues and understands no extension, so such a token must not pass (RFC 7515 section 4.1.11).
        raise _refused(Reason.TOKEN_MALFORMED, "the header names critical extensions; none is supported")
    return header


def _named_key(header: Mapping[str, Any], find_key: FindKey) -> PublicKey:
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise _malformed()
    if algorithm.lower() == "none":
        raise _algorithm_refused()
    key = find_key(kid) if isinstance(kid, str) else None
    if key is None:
        raise _refused(
            Reason.TOKEN_KEY_UNKNOWN,
            "no published key has the token's kid; issue a new token with this issuer",
        )
    if algorithm != key.algorithm.value:
        raise _algorithm_refused()
    return key


def _check_registered(claims: Mapping[str, Any], now: float, issuer: str, audience: str | None) -> None:
    times = [claims.get(name) for name in ("iat", "nbf", "exp")]
    if not all(isinstance(time, int) and not isinstance(time, bool) for time in times):
        raise _malformed()
    if not all(isinstance(claims.get(name), str) and claims[name] for name in ("sub", "jti")):
        raise _malformed()
    if claims.get("iss") != issuer:
        raise _refused(Reason.TOKEN_ISSUER_MISMATCH, "the token was issued by another issuer")
    if now >= claims["exp"]:
        raise _refused(Reason.TOKEN_EXPIRED, "the token has expired; issue a new one")
    if now < claims["nbf"] - NOT_BEFORE_LEEWAY_SECONDS:
        raise _refused(Reason.TOKEN_NOT_YET_VALID, "the token is not valid yet; compare the clocks")
    if audience is not None and audience not in _audiences(claims.get("aud")):
        raise _refused(Reason.TOKEN_AUDIENCE_MISMATCH, "the token is not meant for the audience asked for")


def _check_plain(claims: Mapping[str, Any]) -> None:
    """Refuses what this issuer never signs, and what later steps could not write down.

    That is numbers that are not exact, text that is no Unicode, deep nesting and times past the year 9999.
    """
    try:
        custom_claims({name: value for name, value in claims.items() if name not in REGISTERED})
        json.dumps(claims, ensure_ascii=False).encode()
    except (UsherError, ValueError, RecursionError):
        raise _malformed() from None
    if not all(0 <= claims[name] <= LATEST for name in ("iat", "nbf", "exp")):
        raise _malformed()


def _audiences(claim: Any) -> list[Any]:
    """The `aud` claim as a list: it may be one string or an array (RFC 7519 section 4.1.3)."""
    return claim if isinstance(claim, list) else [claim]


def _refuse_constant(name: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _refused(reason: Reason, message: str) -> UsherError:
    return UsherError(reason, message)


def _malformed() -> UsherError:
    return _refused(
        Reason.TOKEN_MALFORMED,
        "it is not a compact JWS with the claims that this issuer sets; send it unchanged",
    )


def _algorithm_refused() -> UsherError:
    return _refused(
        Reason.TOKEN_ALGORITHM_REFUSED, "the header's alg is not the algorithm of the key that kid names"
    )
