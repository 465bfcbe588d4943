"""The double's reading of a token: its three parts, and what its claims must be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.neon import refusals
from tests.neon.key_set import SIGNING, base64url
from tests.neon.refusals import RefusedError

LEEWAY_SECONDS: Final = 30

_TEXTS: Final = ("iss", "sub", "jti", "sid")
# What JSON may write in a string without a backslash, in plain ASCII.
_PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """The parts of a token, read but not believed."""

    signed: bytes
    signature: bytes
    algorithm: str
    kid: str
    claims: Mapping[str, Any]


def read_token(compact: str) -> Token:
    """Raises RefusedError for what is no token, or one without a key id."""
    try:
        signed, _, signature = compact.rpartition(".")
        header_text, _, payload_text = signed.partition(".")
        header, claims = _object(header_text), _object(payload_text)
        if header.get("alg") not in SIGNING:
            raise ValueError("unknown alg")
        _check_types(claims)
        octets = base64url(signature)
    except (ValueError, RecursionError):
        raise RefusedError(refusals.ENCODING) from None
    if header.get("kid") is None:
        raise RefusedError(refusals.MISSING_KEY_ID)
    if not isinstance(header["kid"], str):
        raise RefusedError(refusals.ENCODING)
    return Token(signed.encode(), octets, header["alg"], header["kid"], claims)


def check_claims(claims: Mapping[str, Any], now: float, audience: str | None) -> None:
    """Audience and times; `audience` None takes any. Raises RefusedError."""
    if audience is not None:
        named = claims.get("aud", [])
        if audience not in ([named] if isinstance(named, str) else named):
            raise RefusedError(refusals.AUDIENCE)
    exp, nbf = claims.get("exp"), claims.get("nbf")
    if exp is not None and now >= exp + LEEWAY_SECONDS:
        raise RefusedError(refusals.expired(exp))
    if nbf is not None and nbf >= now + LEEWAY_SECONDS:
        raise RefusedError(refusals.not_yet(nbf))


def check_names(claims: Mapping[str, Any]) -> None:
    """The second hop takes only names of claims that need no escape in JSON. Raises RefusedError."""
    if not all(_PLAIN.match(name) for name in claims):
        raise RefusedError(refusals.CLAIM_NAME)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(base64url(text), parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _check_types(claims: Mapping[str, Any]) -> None:
    """Raises ValueError. `iat` and all others may be anything."""
    for name in ("exp", "nbf"):
        value = claims.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise ValueError(name)
    if not all(isinstance(claims.get(name), str | None) for name in _TEXTS):
        raise ValueError("a text is none")
    if "aud" in claims:
        aud = claims["aud"]
        if not isinstance(aud, str) and not (
            isinstance(aud, list) and all(isinstance(item, str) for item in aud)
        ):
            raise ValueError("aud")


def _refuse(name: str) -> Any:
    raise ValueError(name)
