"""Signing keys: generation, and their public halves as JWK (RFC 7517) with RFC 7638 thumbprints as `kid`."""

from __future__ import annotations

import base64
import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
VerificationKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RSA_SIZES: Final = (2048, 3072, 4096)
"""Sizes of RSA moduli in bits: what every common verifier takes, Neon's included."""

_COORDINATE_BYTES: Final = 32  # a coordinate of P-256 keeps its leading zeros (RFC 7518 section 6.2.1.2)


class Algorithm(enum.StrEnum):
    """JWS algorithms (RFC 7518 section 3.1): the two that Neon's verifier takes."""

    ES256 = "ES256"
    RS256 = "RS256"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The half of a key that the world may know."""

    kid: str
    """The RFC 7638 thumbprint: unique over all issuers, so that several sets can be joined."""
    algorithm: Algorithm
    jwk: Mapping[str, str]
    """The JWK as published, with `use`, `alg` and `kid`."""
    verification_key: VerificationKey
    jws_header: str
    """The header of the tokens that are signed with it (RFC 7515 section 4), in base64url."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that can sign."""

    public: PublicKey
    private: PrivateKey = field(repr=False)


def generate(algorithm: Algorithm, rsa_bits: int) -> SigningKey:
    """A new key. An RSA key takes tens to hundreds of milliseconds of CPU: call it off the event loop."""
    private: PrivateKey
    if algorithm is Algorithm.ES256:
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    return SigningKey(public=public_half(private), private=private)


def public_half(private: PrivateKey) -> PublicKey:
    """The public half of a private key, with its JWK and thumbprint."""
    return _published(private.public_key())


def _published(key: VerificationKey) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        algorithm = Algorithm.ES256
        point = key.public_numbers()
        required = {
            "crv": "P-256",
            "kty": "EC",
            "x": base64url(point.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": base64url(point.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
    else:
        algorithm = Algorithm.RS256
        numbers = key.public_numbers()
        required = {"e": _unsigned(numbers.e), "kty": "RSA", "n": _unsigned(numbers.n)}
    kid = thumbprint(required)
    jwk = required | {"use": "sig", "alg": algorithm.value, "kid": kid}
    header = {"alg": algorithm.value, "kid": kid, "typ": "JWT"}
    return PublicKey(
        kid=kid,
        algorithm=algorithm,
        jwk=jwk,
        verification_key=key,
        jws_header=base64url(json.dumps(header, separators=(",", ":")).encode("ascii")),
    )


def public_key(jwk: Mapping[str, str]) -> PublicKey:
    """The key of a JWK as `public_half` made it. Raises ValueError, KeyError or TypeError for any other."""
    key: VerificationKey
    if jwk["kty"] == "EC":
        numbers = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1())
        key = numbers.public_key()
    else:
        key = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    return _published(key)


def thumbprint(required: Mapping[str, str]) -> str:
    """The SHA-256 thumbprint of a JWK's required members (RFC 7638 section 3)."""
    canonical = json.dumps(dict(required), sort_keys=True, separators=(",", ":")).encode("ascii")
    return base64url(hashlib.sha256(canonical).digest())


def _unsigned(number: int) -> str:
    """A positive integer as Base64urlUInt: big-endian, as few bytes as it needs (RFC 7518 section 2)."""
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def base64url(octets: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
