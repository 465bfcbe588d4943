"""Tokens that were signed a moment ago, for a caller that asks for the same again. Off by default.

Shared is the whole token, with its `jti` and times, and only among equal requests of one caller. All else is
as without: each request is checked and decided, and what is revoked, or of a key that no longer signs, is
not given again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sidecar.core.claims import Claims
from sidecar.core.signer import Issued

MOST_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes two requests equal."""

    caller: str
    kid: str
    subject: str
    audiences: tuple[str, ...]
    lifetime: int
    custom: str


class TokenReuse:
    """The last tokens; the one that was used longest ago makes room."""

    def __init__(self, seconds: int) -> None:
        """`seconds`: how long after it was signed a token may be given again; never past half of its life."""
        self._seconds = seconds
        self._tokens: OrderedDict[_Asked, Issued] = OrderedDict()

    def find(self, caller: str, kid: str, claims: Claims) -> Issued | None:
        """A token of the key `kid` that says what these claims would, if there is one that is new enough."""
        asked = _asked(caller, kid, claims)
        issued = self._tokens.get(asked)
        if issued is None:
            return None
        age = claims.issued_at - issued.claims.issued_at
        if not 0 <= age <= min(self._seconds, asked.lifetime // 2):
            del self._tokens[asked]
            return None
        self._tokens.move_to_end(asked)
        return issued

    def keep(self, caller: str, issued: Issued) -> None:
        """Remembers a token."""
        self._tokens[_asked(caller, issued.kid, issued.claims)] = issued
        if len(self._tokens) > MOST_TOKENS:
            self._tokens.popitem(last=False)


def _asked(caller: str, kid: str, claims: Claims) -> _Asked:
    return _Asked(
        caller=caller,
        kid=kid,
        subject=claims.subject,
        audiences=claims.audiences,
        lifetime=claims.expires_at - claims.issued_at,
        custom=json.dumps(claims.custom, sort_keys=True),
    )
