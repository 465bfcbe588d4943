"""The texts with which Neon refuses a token. All of them reach the client as HTTP 400."""

from __future__ import annotations

from typing import Final

JWK_NOT_FOUND: Final = "jwk not found"
MISSING_KEY_ID: Final = "missing key id"
ENCODING: Final = "Provided authentication token is not a valid JWT encoding"
AUDIENCE: Final = "invalid JWT token audience"
INVALID_P256_KEY: Final = "invalid P256 key"
INVALID_RSA_KEY: Final = "invalid RSA key"
INVALID_RSA_ALGORITHM: Final = "invalid RSA signing algorithm"
ALGORITHM: Final = "signature algorithm not supported"
SIGNATURE: Final = "signature error"
FETCH_RULES: Final = "failed to fetch auth rules"
CLAIM_NAME: Final = "could not parse the claims"
"""Of the second hop, which reads the names of claims as plain text."""


class RefusedError(Exception):
    """A token was refused; its text is what Neon's client is shown."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def expired(exp: int) -> str:
    return f"JWT token has expired (exp={exp})"


def not_yet(nbf: int) -> str:
    return f"JWT token is not yet ready to use (nbf={nbf})"


def unsupported_curve(curve: str) -> str:
    return f"unsupported EC key type {curve}"


def unsupported_key(kty: str) -> str:
    return f"unsupported key type {kty}"
