"""The double's reading of a JWK Set: which keys survive, and what their signatures are worth.

Written from what is known of Neon's verifier (docs/neon-double.md has the rules), and apart from Usher's own
code on purpose: a fault that both shared would never be seen.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from tests.neon import refusals
from tests.neon.refusals import RefusedError

MAX_SET_BYTES: Final = 64 * 1024

SIGNING: Final = frozenset(
    ["ES256", "ES256K", "ES384", "ES512", "EdDSA", "none"]
    + [family + size for family in ("HS", "PS", "RS") for size in ("256", "384", "512")]
)
"""The names of signature algorithms that it knows, though it takes only two of them."""

_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}
_KEY_OPS: Final = {
    "sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"
}  # fmt: skip
_REQUIRED: Final = {"EC": ("x", "y"), "RSA": ("n", "e"), "oct": ("k",), "OKP": ("x",)}
_RSA_BITS: Final = (2048, 4096)


class BadSetError(Exception):
    """The document is no key set that can be used: it counts as a failed fetch."""


@dataclass(frozen=True, slots=True)
class SetKey:
    """A key of the set that could be read."""

    jwk: Mapping[str, Any]

    @property
    def kid(self) -> str | None:
        return self.jwk.get("kid")

    def check(self, signed: bytes, signature: bytes, algorithm: str) -> None:
        """Raises RefusedError unless the signature is this key's by the algorithm of the token's header."""
        if not self._fits(algorithm):
            raise RefusedError(refusals.ALGORITHM)
        kty = self.jwk["kty"]
        if kty == "EC":
            self._check_ec(signed, signature)
        elif kty == "RSA":
            self._check_rsa(signed, signature, algorithm)
        else:
            raise RefusedError(refusals.unsupported_key(kty))

    def _fits(self, algorithm: str) -> bool:
        """The key's own `alg` decides; without one its type does."""
        own = self.jwk.get("alg")
        if own is not None and own != algorithm:
            return False
        match self.jwk["kty"]:
            case "EC":
                return _CURVES[self.jwk["crv"]] == algorithm
            case "RSA":
                return algorithm[:2] in ("RS", "PS") and len(base64url(self.jwk["n"])) * 8 >= _RSA_BITS[0]
            case "oct":
                return algorithm.startswith("HS")
            case _:
                return algorithm == "EdDSA"

    def _check_ec(self, signed: bytes, signature: bytes) -> None:
        if self.jwk["crv"] != "P-256":
            raise RefusedError(refusals.unsupported_curve(self.jwk["crv"]))
        x, y = base64url(self.jwk["x"]), base64url(self.jwk["y"])
        if (len(x), len(y)) != (32, 32):
            raise RefusedError(refusals.INVALID_P256_KEY)
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
        )
        try:
            key = numbers.public_key()
        except ValueError:
            raise RefusedError(refusals.INVALID_P256_KEY) from None
        if len(signature) != 64:
            raise RefusedError(refusals.SIGNATURE)
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        try:
            key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise RefusedError(refusals.SIGNATURE) from None

    def _check_rsa(self, signed: bytes, signature: bytes, algorithm: str) -> None:
        n, e = (int.from_bytes(base64url(self.jwk[name]), "big") for name in ("n", "e"))
        if n.bit_length() > _RSA_BITS[1]:
            raise RefusedError(refusals.INVALID_RSA_KEY)
        try:
            key = rsa.RSAPublicNumbers(e, n).public_key()
        except ValueError:
            raise RefusedError(refusals.INVALID_RSA_KEY) from None
        if algorithm != "RS256":
            raise RefusedError(refusals.INVALID_RSA_ALGORITHM)
        try:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise RefusedError(refusals.SIGNATURE) from None


def read_set(body: bytes) -> tuple[SetKey, ...]:
    """The usable keys of a document, in its order. Raises BadSetError when there is none."""
    if len(body) > MAX_SET_BYTES:
        raise BadSetError("the document is too large")
    try:
        listed = json.loads(body, parse_constant=_refuse)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadSetError("the document is no key set") from None
    if not isinstance(listed, list):
        raise BadSetError("keys is no list")
    keys = tuple(SetKey(jwk) for jwk in listed if _readable(jwk) and jwk.get("use") in (None, "sig"))
    if not keys:
        raise BadSetError("no key of the set can be used")
    return keys


def base64url(text: str) -> bytes:
    """base64url without padding, in its one canonical form. Raises ValueError for any other."""
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        raise ValueError("no base64url") from None
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise ValueError("no canonical base64url")
    return octets


def _readable(jwk: Any) -> bool:
    """Whether one key can be parsed; one that cannot is left out, and the others stay."""
    if not isinstance(jwk, dict) or jwk.get("kty") not in _REQUIRED:
        return False
    if jwk["kty"] == "EC" and jwk.get("crv") not in _CURVES:
        return False
    if jwk.get("alg") not in (None, *SIGNING) or jwk.get("use") not in (None, "sig", "enc"):
        return False
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and set(operations) <= _KEY_OPS):
        return False
    if not isinstance(jwk.get("kid"), str | None):
        return False
    try:
        return all(base64url(jwk[name]) for name in _REQUIRED[jwk["kty"]])
    except (ValueError, KeyError, TypeError):
        return False


def _refuse(name: str) -> Any:
    raise ValueError(name)
