"""Claims: what a token or a scope says about its subject.

Registered names are those of RFC 7519 section 4.1; all others are custom claims. The rules on names and
sizes come from what Neon's proxy accepts (docs/errors.md says which), so that a token issued here works
everywhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.errors import Reason, UsherError, invalid_field

REGISTERED: Final = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")
"""The names that Usher itself sets; never custom (RFC 7519 section 4.1)."""

KID_CLAIM: Final = "usher_kid"
"""How policies learn which key signed a scope's token. No token has it: never custom."""

MAX_PAYLOAD_BYTES: Final = 8192
"""Largest JSON of all claims. With base64url, header and the largest signature (RSA 4096) a token stays
below 12 KiB, which fits the header list of an HTTP/2 hop."""

MAX_DEPTH: Final = 16
"""Deepest nesting of custom claims; the claims object itself is level 1."""

MAX_SUBJECT_LENGTH: Final = 255

LARGEST_EXACT_INTEGER: Final = 2**53 - 1
"""Beyond it a double may stand for a neighbour that was meant (RFC 8259 section 6)."""

# Printable ASCII that needs no escape in JSON: a verifier may compare names as raw text.
_NAME = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,128}\Z")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A checked set of claims. Times are whole seconds since 1970 (NumericDate, RFC 7519 section 2).

    The payload is made once: its size is checked, it is signed, and the caller is told of it.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    issued_at: int
    expires_at: int
    jti: str
    custom: Mapping[str, Json]
    payload: Mapping[str, Json] = field(init=False, repr=False, compare=False)
    """The JSON object to sign: registered claims first, `aud` a string when there is one (4.1.3)."""
    payload_json: bytes = field(init=False, repr=False, compare=False)
    """The payload as it is signed."""

    def __post_init__(self) -> None:
        payload = self._payload()
        object.__setattr__(self, "payload", payload)
        object.__setattr__(self, "payload_json", to_json(payload))

    def _payload(self) -> dict[str, Json]:
        registered: dict[str, Json] = {"iss": self.issuer, "sub": self.subject}
        if self.audiences:
            registered["aud"] = self.audiences[0] if len(self.audiences) == 1 else list(self.audiences)
        registered["iat"] = self.issued_at
        registered["nbf"] = self.issued_at
        registered["exp"] = self.expires_at
        registered["jti"] = self.jti
        return registered | dict(self.custom)

    def check_size(self) -> None:
        """Raises CLAIMS_TOO_LARGE when the payload would not fit."""
        size = len(self.payload_json)
        if size > MAX_PAYLOAD_BYTES:
            raise invalid_field(
                "claims",
                f"the claims make {size} bytes of JSON, the limit is {MAX_PAYLOAD_BYTES}; "
                "send references instead of data",
                Reason.CLAIMS_TOO_LARGE,
            )


# json.dumps would make one for each call.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def to_json(payload: Mapping[str, Json]) -> bytes:
    """Compact JSON in ASCII; what is signed and what Postgres sees."""
    return _ENCODER.encode(payload).encode("ascii")


def check_subject(subject: str, path: str = "subject") -> None:
    """Raises INVALID_FIELD for a subject that cannot be a `sub` claim."""
    if not subject.strip():
        raise invalid_field(path, "must not be empty; name the end user")
    if len(subject) > MAX_SUBJECT_LENGTH:
        raise invalid_field(path, f"must have at most {MAX_SUBJECT_LENGTH} characters")
    if "\0" in subject:
        raise invalid_field(path, "must not hold a NUL character; Postgres cannot store it")


def check_audiences(audiences: Sequence[str], path: str = "audiences") -> None:
    """Raises INVALID_FIELD for an audience that Postgres could not read as JSON text."""
    if any("\0" in audience for audience in audiences):
        raise invalid_field(path, "must not hold a NUL character; Postgres cannot store it")


def custom_claims(raw: Mapping[str, Any], path: str = "claims") -> dict[str, Json]:
    """Checks custom claims and gives numbers back their JSON meaning: 7.0 becomes 7.

    Raises CLAIM_RESERVED, CLAIM_NAME_INVALID, CLAIM_NOT_EXACT, CLAIMS_TOO_DEEP or INVALID_FIELD.
    """
    checked: dict[str, Json] = {}
    for name, value in raw.items():
        if name in REGISTERED:
            raise _claim_error(
                path, name, "is a registered claim that Usher sets; leave it out", Reason.CLAIM_RESERVED
            )
        if name == KID_CLAIM:
            raise _claim_error(path, name, "is Usher's own; choose another name", Reason.CLAIM_RESERVED)
        if not _NAME.match(name):
            # The name itself may be hostile text: it is not repeated.
            raise invalid_field(
                path,
                "a claim name must be 1 to 128 printable ASCII characters without quotes and backslashes, "
                "because verifiers compare names as raw text",
                Reason.CLAIM_NAME_INVALID,
            )
        if name == "sid" and value is not None and not isinstance(value, str):
            raise _claim_error(
                path, name, "must be a string or null; verifiers read it so", Reason.INVALID_FIELD
            )
        if type(value) is str and "\0" not in value:  # the usual claim, whose path is not needed
            checked[name] = value
        else:
            checked[name] = _checked(value, f"{path}.{name}", depth=2)
    return checked


def _checked(value: Any, path: str, depth: int) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _exact_number(value, path)
    if isinstance(value, str):
        if "\0" in value:
            raise invalid_field(path, "must not hold a NUL character; Postgres cannot store it")
        return value
    if depth > MAX_DEPTH:
        raise invalid_field(
            path,
            f"nested deeper than {MAX_DEPTH} levels; flatten it",
            Reason.CLAIMS_TOO_DEEP,
        )
    if isinstance(value, Mapping):
        if any("\0" in key for key in value):
            raise invalid_field(path, "a name must not hold a NUL character; Postgres cannot store it")
        return {key: _checked(item, path, depth + 1) for key, item in value.items()}
    return [_checked(item, path, depth + 1) for item in value]


def _exact_number(value: int | float, path: str) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise invalid_field(path, "is not a finite number; JSON has none", Reason.CLAIM_NOT_EXACT)
        if not value.is_integer():
            return value
        value = int(value)
    if abs(value) > LARGEST_EXACT_INTEGER:
        raise invalid_field(
            path,
            "is an integer of 2^53 or more, which JSON readers round; send it as text",
            Reason.CLAIM_NOT_EXACT,
        )
    return value


def _claim_error(path: str, name: str, remedy: str, reason: Reason) -> UsherError:
    return invalid_field(f"{path}.{name}", remedy, reason)
