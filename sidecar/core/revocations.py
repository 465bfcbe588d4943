"""The deny list: tokens that are refused before they expire, by `jti`, `sub` or `kid`.

Whoever is asked looks into memory. Where the list is kept, and so who shares it, is a store's to know; the
list here is read from it again and again, and knows how old it is. docs/revocation.md is for operators.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sidecar.core.clock import Clock
from sidecar.core.deny_list import By, DenyList, Revocation
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Observer, RevocationsRead, TokensRevoked

GAP_SECONDS: Final = 0.05
"""Between two readings at least: everyone may send notifications, any number of them."""
FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 5.0
MOST_SECONDS: Final = 30 * 86_400
"""The longest that an entry may be asked to last."""

_REMEDY: Final = {
    By.JTI: "this token is revoked; issue a new one",
    By.SUB: "the tokens of this subject are revoked; it must sign in again, or an admin lift the revocation",
    By.KID: "every token of this key is revoked; issue a new one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """An entry to be made. It lasts `seconds` from now, by the clock of the store."""

    by: By
    value: str
    issued_until: int | None = None
    seconds: float


class RevocationStore(Protocol):
    """Where the list is kept. Each call returns every entry in force; all raise UsherError."""

    @property
    def shared(self) -> bool:
        """Whether other sidecars see what is revoked here."""
        ...

    @property
    def told(self) -> bool:
        """Whether changes by others are heard of at once, and not only by looking again."""
        ...

    async def read(self) -> Sequence[Revocation]:
        """The list now."""
        ...

    async def add(self, addition: Addition) -> Sequence[Revocation]:
        """Adds an entry, merged with one that is there (Revocation.merged)."""
        ...

    async def remove(self, by: By, value: str) -> Sequence[Revocation]:
        """Removes an entry, if it is there."""
        ...

    async def changed(self) -> None:
        """Returns when the list may have changed, or when it is time to look again. Never raises."""
        ...

    async def close(self) -> None:
        """Ends what the store holds open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationSettings:
    """Times in seconds. `least` is how long each entry lasts at least."""

    least: float
    """As long as any token lives, so that nothing revoked comes to life again (RotationSettings.hold)."""
    max_age: float = 60.0
    """How old the list may be before nobody is let through by it."""
    allow_stale: bool = False

    def validate(self) -> None:
        """Raises SettingsError for an age that a healthy list would exceed between two looks."""
        if not 10.0 <= self.max_age <= 86_400.0:
            raise SettingsError("revocation_max_age must lie between 10 s and 24 h")


class Revocations:
    """The list in force, and what keeps it current. Everyone may ask it; nothing is awaited for an answer."""

    def __init__(
        self, store: RevocationStore, settings: RevocationSettings, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._list = DenyList()
        self._read_at: float | None = None
        self._problem = UsherError(Reason.DATABASE_UNAVAILABLE, "the deny list has not been read yet")
        # Readings and changes take turns, so that an older list never replaces a newer one.
        self._turn = asyncio.Lock()

    @property
    def shared(self) -> bool:
        """Whether other sidecars see what is revoked here."""
        return self._store.shared

    @property
    def told(self) -> bool:
        """Whether changes by others are heard of at once."""
        return self._store.told

    @property
    def age(self) -> float:
        """Seconds since the reading that the list is from began; infinite before the first."""
        return float("inf") if self._read_at is None else self._clock.monotonic() - self._read_at

    def in_force(self) -> list[Revocation]:
        """Every entry as last read, the newest first."""
        return self._list.in_force(self._clock.now())

    def trouble(self) -> str | None:
        """Why nobody is let through, in public words; None when all is well."""
        if self._settings.allow_stale or self.age <= self._settings.max_age:
            return None
        return f"the deny list is not current: {self._problem.message}"

    def check(self, *, path: str, jti: str, subject: str, kid: str = "", issued_at: float) -> None:
        """Raises UsherError: TOKEN_REVOKED, or as `current`. `path` is the place in the request message."""
        self.current()
        self.check_known(path=path, jti=jti, subject=subject, kid=kid, issued_at=issued_at)

    def check_known(self, *, path: str, jti: str, subject: str, kid: str = "", issued_at: float) -> None:
        """Raises TOKEN_REVOKED for what the list holds, however old it is."""
        by = self._list.finds(jti=jti, subject=subject, kid=kid, issued_at=issued_at, now=self._clock.now())
        if by is not None:
            raise UsherError(
                Reason.TOKEN_REVOKED,
                f"{path}: revoked by {by.value}: {_REMEDY[by]}",
                {"field": path, "revoked_by": by.value},
            )

    def current(self) -> None:
        """Raises UsherError DATABASE_UNAVAILABLE or DATABASE_NOT_INSTALLED for a list that is too old."""
        trouble = self.trouble()
        if trouble is not None:
            raise UsherError(self._problem.reason, trouble)

    async def revoke(
        self, by: By, value: str, *, existing_only: bool = False, seconds: float | None = None
    ) -> Revocation:
        """Adds an entry and returns it as it stands then; in force here when this returns.

        `existing_only` spares what is issued later; for `sub` alone. `seconds`: how long it is to last; it
        never lasts shorter than the longest token. Raises UsherError when the store cannot be reached.
        """
        addition = Addition(
            by=by,
            value=value,
            issued_until=int(self._clock.now()) if existing_only and by is By.SUB else None,
            seconds=max(self._settings.least, seconds or 0.0),
        )
        async with self._turn:
            began = self._clock.monotonic()
            self._take(await self._store.add(addition), began)
        self._observer(TokensRevoked(by=by.value, action="revoke"))
        entry = self._list.find(by, value)
        assert entry is not None  # the store returns what it has just added
        return entry

    async def lift(self, by: By, value: str) -> bool:
        """Removes an entry; False when there was none. Raises UsherError as `revoke`."""
        async with self._turn:
            began = self._clock.monotonic()
            there = DenyList(await self._store.read()).find(by, value) is not None
            self._take(await self._store.remove(by, value), began)
        if there:
            self._observer(TokensRevoked(by=by.value, action="lift"))
        return there

    async def refresh(self) -> None:
        """Reads the list. Raises UsherError; the list stays as it was then."""
        async with self._turn:
            began = self._clock.monotonic()
            try:
                self._take(await self._store.read(), began)
            except UsherError as error:
                self._problem = error
                self._observer(RevocationsRead(outcome="failed", detail=error.message))
                raise

    async def run(self) -> None:
        """Keeps the list current until cancelled. A reading that fails is tried again."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await self.refresh()
            except UsherError:
                await self._clock.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)
            else:
                delay = FIRST_RETRY_SECONDS
                await self._clock.sleep(GAP_SECONDS)
                await self._store.changed()

    async def close(self) -> None:
        """Ends what the store holds open."""
        await self._store.close()

    def _take(self, entries: Sequence[Revocation], began: float) -> None:
        self._list, self._read_at = DenyList(entries), began
        self._observer(RevocationsRead(outcome="read"))
