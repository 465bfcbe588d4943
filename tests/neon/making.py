"""Keys, sets and tokens for the double's own tests, made without Usher."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk_of(private: Private, kid: str, **members: Any) -> dict[str, Any]:
    """The public JWK; members that are None are left out."""
    public = private.public_key()
    jwk: dict[str, Any]
    if isinstance(public, ec.EllipticCurvePublicKey):
        jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    jwk.pop("key_ops", None)
    jwk |= {"kid": kid} | members
    return {name: value for name, value in jwk.items() if value is not None}


def key_set(*keys: Mapping[str, Any], **others: Any) -> bytes:
    return json.dumps({"keys": list(keys), **others}).encode()


def token(
    private: Any,
    kid: str | None,
    claims: Mapping[str, Any] | None = None,
    alg: str = "ES256",
    **header: Any,
) -> str:
    """A signed token; claims that no library would sign go in as they are."""
    if kid is not None:
        header["kid"] = kid
    payload = json.dumps({} if claims is None else claims).encode()
    made: str = jwt.PyJWS().encode(payload, private, algorithm=alg, headers=header)
    return made


def encoded(text: str) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
