"""Another issuer's public keys, read from its JWK Set (RFC 7517): those that can check ES256 and RS256.

Any other member is passed over, as section 5 of the RFC asks: other kinds, keys for encryption, keys that are
too weak or wrong, a private key that the world can read. So are two keys with one `kid`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sidecar.core.keys import Algorithm, VerificationKey

MAX_SET_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""
_MAX_RSA_BITS: Final = 8192  # a larger one only makes each check slow
_MAX_EXPONENT_BITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key that checks the tokens of another issuer, by one algorithm alone."""

    kid: str
    algorithm: Algorithm
    verification_key: VerificationKey


def read_key_set(document: bytes) -> Mapping[str, TrustedKey]:
    """The usable keys of a JWK Set by `kid`.

    Raises ValueError when there are none; its text repeats nothing of the document.
    """
    if len(document) > MAX_SET_BYTES:
        raise ValueError(f"the key set has more than {MAX_SET_BYTES} bytes")
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("the key set is not JSON") from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise ValueError(f"the key set has no list of at most {MAX_KEYS} keys")
    found: dict[str, TrustedKey] = {}
    twice: set[str] = set()
    for member in members:
        try:
            key = _key(member)
        except ValueError:
            continue
        if key is not None:
            twice |= {key.kid} & found.keys()
            found[key.kid] = key
    usable = {kid: key for kid, key in found.items() if kid not in twice}
    if not usable:
        raise ValueError("the key set has no key with a kid of its own for ES256 or RS256")
    return usable


def _key(member: Any) -> TrustedKey | None:
    """The key of one member; None for a kind that is not used here. Raises ValueError for a wrong one."""
    if not isinstance(member, dict) or "d" in member or member.get("use", "sig") != "sig":
        return None
    kid, kind = member.get("kid"), member.get("kty")
    if not isinstance(kid, str) or not kid:
        return None
    algorithm: Algorithm
    key: VerificationKey
    if kind == "EC" and member.get("crv") == "P-256":
        algorithm = Algorithm.ES256
        x, y = _number(member.get("x")), _number(member.get("y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    elif kind == "RSA":
        algorithm = Algorithm.RS256
        modulus, exponent = _number(member.get("n")), _number(member.get("e"))
        if not MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS:
            return None
        if exponent.bit_length() > _MAX_EXPONENT_BITS:
            return None
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    else:
        return None
    if member.get("alg", algorithm.value) != algorithm.value:
        return None
    return TrustedKey(kid=kid, algorithm=algorithm, verification_key=key)


def _number(text: Any) -> int:
    """A Base64urlUInt (RFC 7518 section 2)."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError
    return int.from_bytes(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), "big")
