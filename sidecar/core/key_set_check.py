"""Whether a published key set is one that Neon's verifier can use, and every key of it.

By the published source of that verifier (July 2025): it reads 64 KiB, passes over keys that it cannot use,
takes the first of two keys with one `kid`, and counts a set without a usable key as a failed fetch.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from sidecar.core.diagnosis import Diagnosis, failed, ok, warning
from sidecar.core.publication import MAX_JWKS_BYTES

SIZE: Final = "jwks_size"
KEYS: Final = "jwks_keys"

PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of private and symmetric keys (RFC 7518 section 6)."""
_FULL: Final = 0.75
_RSA_BITS: Final = range(2048, 4097)
_COORDINATE_BYTES: Final = 32
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN: Final = 5
_PUBLISH: Final = "serve the set as Usher publishes it, under /.well-known/jwks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSet:
    """What was found. `kids` are those of the keys that can be used; None where there is no set at all."""

    kids: frozenset[str] | None
    found: Sequence[Diagnosis]


def size_of_set(size: int, *, whole: bool = True) -> Diagnosis:
    """Judges a set's size in bytes; of one that is not `whole` no more was read."""
    if size > MAX_JWKS_BYTES or not whole:
        return failed(
            SIZE,
            f"the set has more than {MAX_JWKS_BYTES} bytes, and Neon reads no more",
            "raise rotation_lead_time or lower max_token_ttl, so that fewer keys wait to be dropped",
        )
    seen = f"{size} of {MAX_JWKS_BYTES} bytes"
    if size > _FULL * MAX_JWKS_BYTES:
        return warning(SIZE, seen, "use ES256, whose keys are small, or a shorter max_token_ttl")
    return ok(SIZE, seen)


def check_key_set(document: bytes) -> CheckedSet:
    """Judges the body of an answer. What it says repeats nothing of the document."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        return _none("the answer is not JSON")
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        return _none("the answer is no JSON object with a list `keys`")
    if not members:
        return _none(
            "the set is empty, which Neon takes for a failed fetch",
            "find out who serves this in Usher's place",
        )
    wrong = [(number, why) for number, member in enumerate(members, 1) if (why := _unusable(member))]
    bad = {number for number, _ in wrong}
    usable = [member for number, member in enumerate(members, 1) if number not in bad]
    kids = frozenset(member["kid"] for member in usable)
    found = [
        *_private(members),
        *_twice(members),
        *_passed_over(wrong, len(usable)),
        *_incomplete(usable),
    ]
    return CheckedSet(kids=kids, found=found or [ok(KEYS, f"{len(usable)} keys, and Neon can use every one")])


def _none(why: str, remedy: str = _PUBLISH) -> CheckedSet:
    return CheckedSet(kids=None, found=[failed(KEYS, why, remedy)])


def _private(members: Sequence[Any]) -> list[Diagnosis]:
    if not any(isinstance(member, dict) and not PRIVATE_MEMBERS.isdisjoint(member) for member in members):
        return []
    return [
        failed(
            KEYS,
            "the set holds a private or symmetric key, so that whoever reads it can sign",
            "take it down, and `usher keys revoke` what was shown",
        )
    ]


def _twice(members: Sequence[Any]) -> list[Diagnosis]:
    counts = Counter(
        kid for member in members if isinstance(member, dict) and isinstance(kid := member.get("kid"), str)
    )
    if not any(count > 1 for count in counts.values()):
        return []
    return [
        failed(KEYS, "two keys have one kid, and Neon takes the first", "give every key a kid of its own")
    ]


def _passed_over(wrong: Sequence[tuple[int, str]], usable: int) -> list[Diagnosis]:
    if not wrong:
        return []
    seen = ", ".join(f"key {number} {why}" for number, why in wrong[:_SHOWN])
    if len(wrong) > _SHOWN:
        seen += f", and {len(wrong) - _SHOWN} more"
    if not usable:
        return [failed(KEYS, f"Neon can use no key of the set: {seen}", _PUBLISH)]
    return [warning(KEYS, f"Neon passes keys over: {seen}", "publish what is not for Neon at another URL")]


def _incomplete(usable: Sequence[Any]) -> list[Diagnosis]:
    missing = [name for name in ("alg", "use") if any(name not in member for member in usable)]
    if not missing:
        return []
    return [
        warning(
            KEYS, f"keys lack {' and '.join(missing)}, which Neon can do without", f"{_PUBLISH}, unchanged"
        )
    ]


def _unusable(member: Any) -> str:
    """Why Neon cannot use a key; "" when it can."""
    if not isinstance(member, dict):
        return "is no object"
    kid, kind = member.get("kid"), member.get("kty")
    if not isinstance(kid, str) or not kid:
        return "has no kid, so that no token can name it"
    if member.get("use", "sig") != "sig":
        return "is not for signatures"
    if kind == "EC" and member.get("crv") == "P-256":
        algorithm, wrong = "ES256", _wrong_point(member)
    elif kind == "RSA":
        algorithm, wrong = "RS256", _wrong_modulus(member)
    else:
        return "is neither P-256 nor RSA"
    if member.get("alg", algorithm) != algorithm:
        return f"has another alg than {algorithm}"
    return wrong


def _wrong_point(member: dict[str, Any]) -> str:
    x, y = _octets(member.get("x")), _octets(member.get("y"))
    if x is None or y is None or len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
        return f"has no coordinates of {_COORDINATE_BYTES} bytes"
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    try:
        numbers.public_key()
    except ValueError:
        return "is no point of the curve"
    return ""


def _wrong_modulus(member: dict[str, Any]) -> str:
    modulus, exponent = _octets(member.get("n")), _octets(member.get("e"))
    if modulus is None or exponent is None:
        return "has no modulus or exponent"
    if int.from_bytes(modulus, "big").bit_length() not in _RSA_BITS:
        return f"has not between {_RSA_BITS[0]} and {_RSA_BITS[-1]} bits"
    return ""


def _octets(text: Any) -> bytes | None:
    """base64url without padding (RFC 7515 section 2); None for what is none."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
