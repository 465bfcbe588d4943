"""What is revoked, and what that covers: pure data, asked from memory. revocations.py keeps it current."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace


class By(enum.StrEnum):
    """What an entry names. The values are the claims' names, and the header's for `kid`."""

    JTI = "jti"
    SUB = "sub"
    KID = "kid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One entry. Times in seconds since 1970.

    `issued_until` narrows one of a `sub` to tokens with an `iat` up to it; None is everything in that name,
    also what has no token. An entry is in force until `expires_at`.
    """

    by: By
    value: str
    issued_until: int | None = None
    revoked_at: float
    expires_at: float

    def merged(self, other: Revocation) -> Revocation:
        """Both entries as one: never narrower than either, and never over sooner. `other` is the newer."""
        both = (self.issued_until, other.issued_until)
        return replace(
            other,
            issued_until=None if None in both else max(until for until in both if until is not None),
            expires_at=max(self.expires_at, other.expires_at),
        )


class DenyList:
    """Entries, found by what they name. Immutable."""

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        self._found: dict[By, dict[str, Revocation]] = {by: {} for by in By}
        for entry in entries:
            self._found[entry.by][entry.value] = entry
        # The order in which they are asked: what is revoked most precisely names the reason.
        self._jti, self._sub, self._kid = self._found[By.JTI], self._found[By.SUB], self._found[By.KID]

    def finds(self, *, jti: str, subject: str, kid: str, issued_at: float, now: float) -> By | None:
        """What it is that is revoked at the time `now`; None when nothing is. `kid` is "" without a token."""
        entry = self._jti.get(jti)
        if entry is not None and now < entry.expires_at:
            return By.JTI
        entry = self._sub.get(subject)
        if (
            entry is not None
            and now < entry.expires_at
            and (entry.issued_until is None or issued_at <= entry.issued_until)
        ):
            return By.SUB
        entry = self._kid.get(kid)
        if entry is not None and now < entry.expires_at:
            return By.KID
        return None

    def find(self, by: By, value: str) -> Revocation | None:
        """The entry, over or not."""
        return self._found[by].get(value)

    def in_force(self, now: float) -> list[Revocation]:
        """Every entry at the time `now`, the newest first."""
        every = [entry for entries in self._found.values() for entry in entries.values()]
        return sorted(
            (entry for entry in every if now < entry.expires_at),
            key=lambda entry: (-entry.revoked_at, entry.by, entry.value),
        )
