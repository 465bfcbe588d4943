"""Service-account tokens of another issuer, as Kubernetes makes them: JWTs that say which service calls.

They are checked by RFC 8725: the algorithm is the key's and never the header's; issuer and audience must be
those expected. Times are checked here and not by the library, whose clock cannot be given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from sidecar.core.callers import Proof, unproven
from sidecar.core.errors import UsherError
from sidecar.core.jws import MAX_TOKEN_BYTES, NOT_BEFORE_LEEWAY_SECONDS
from sidecar.core.trusted_keys import TrustedKey

_JWS: Final = jwt.PyJWS(algorithms=["ES256", "RS256"])
_LONGEST_KID: Final = 512

# Three texts in base64url without padding (RFC 7515 sections 2 and 7.1).
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
# What Kubernetes puts into `sub`: names are DNS labels and subdomains.
_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceToken:
    """What a token that holds says. Times are seconds since 1970."""

    issuer: str
    subject: str
    expires_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    """`namespace` and `service_account`, where the subject has Kubernetes' form."""


def kid_of(compact: str) -> str:
    """The `kid` of a token that is still to be checked. Raises UsherError for what is no such token."""
    if len(compact) > MAX_TOKEN_BYTES or not _COMPACT.match(compact):
        raise _malformed()
    encoded = compact.split(".", 1)[0]
    try:
        header = json.loads(base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True))
    except (ValueError, RecursionError):
        raise _malformed() from None
    # An extension that must be understood is not (RFC 7515 section 4.1.11).
    if not isinstance(header, dict) or "crit" in header:
        raise _malformed()
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_KID:
        raise _refused("its header names no kid")
    return kid


def verify(compact: str, key: TrustedKey, *, issuer: str, audience: str, now: float) -> ServiceToken:
    """Checks a token with the key that its kid names, at the time `now`. Raises UsherError."""
    try:
        payload = _JWS.decode(compact, key.verification_key, algorithms=[key.algorithm.value])
        claims = json.loads(payload, parse_constant=_refuse_constant)
    except jwt.InvalidAlgorithmError:
        raise _refused("its alg is not the one of the key that kid names") from None
    except jwt.InvalidSignatureError:
        raise _refused("the signature does not fit the key that kid names") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(claims, dict):
        raise _malformed()
    return _checked(claims, issuer, audience, now)


def _checked(claims: Mapping[str, Any], issuer: str, audience: str, now: float) -> ServiceToken:
    subject, expires_at = claims.get("sub"), _time(claims.get("exp"))
    if not isinstance(subject, str) or not subject or expires_at is None:
        raise _refused("it lacks sub or exp")
    if claims.get("iss") != issuer:
        raise _refused("another issuer made it")
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _refused("it is not meant for this sidecar: aud does not hold caller_token_audience")
    if now >= expires_at:
        raise _refused("it has expired; read the projected token again")
    for name in ("nbf", "iat"):
        if name in claims:
            time = _time(claims[name])
            if time is None or now < time - NOT_BEFORE_LEEWAY_SECONDS:
                raise _refused("it is not valid yet; compare the clocks")
    account = _ACCOUNT.match(subject)
    attributes = {"namespace": account[1], "service_account": account[2]} if account else {}
    return ServiceToken(issuer=issuer, subject=subject, expires_at=expires_at, attributes=attributes)


def _time(value: Any) -> float | None:
    """A NumericDate (RFC 7519 section 2); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _refused(why: str) -> UsherError:
    return unproven(f"authorization: the token is refused, {why}", Proof.JWT)


def _malformed() -> UsherError:
    return unproven(
        "authorization: it is neither a bearer key nor a compact JWS; send the token unchanged", Proof.JWT
    )
