"""A double of Neon's token verifier: its cache of key sets, and so every way in which a valid token fails.

It is written from what is known of the real one (docs/neon-double.md) and takes time from a clock, so that
an hour of its cache passes in no time. It counts refusals, and calls one *wrongful* when the issuer says
that the token was good at the moment it was shown.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.clock import Clock
from tests.neon import refusals
from tests.neon.fetching import Fetch, FetchFailedError, KeySetFetcher
from tests.neon.key_set import SetKey
from tests.neon.refusals import RefusedError
from tests.neon.token_claims import Token, check_claims, check_names, read_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """What a cached entry is good for, by its age in seconds."""

    unknown_kid: float
    """Up to it, an unknown kid is refused at once."""
    floor: float
    """Up to it, a renewal gives the entry back as it is: an unknown kid hangs from the age above to this."""
    background: float
    """Beyond it, a request is served from the entry and starts a fetch."""
    longest: float
    """Beyond it, a request waits for a fetch."""

    def scaled(self, factor: float) -> Ages:
        """The same on a faster scale, for trials in real time."""
        return Ages(
            unknown_kid=self.unknown_kid * factor,
            floor=self.floor * factor,
            background=self.background * factor,
            longest=self.longest * factor,
        )


PUBLISHED: Final = Ages(unknown_kid=30, floor=300, background=300, longest=3600)
"""By the published source."""
HOSTED: Final = Ages(unknown_kid=3600, floor=3600, background=3600, longest=3600)
"""By reports on the hosted service: for an hour nothing is fetched, and an unknown kid is refused at once."""
PATIENCE_SECONDS: Final = 10.0
"""A verdict that takes longer is a refusal in all but name."""
HUNG: Final = "hung"
"""Stands for the text of such a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One key set that a project trusts, and for whom."""

    jwks_url: str
    role_names: tuple[str, ...] = ("authenticated",)
    audience: str | None = None


Rules = Callable[[str], Awaitable[tuple[Rule, ...]]]
"""The control plane: the rules of an endpoint. Whatever it raises leaves a cached entry as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A token that was refused, or had to wait for too long."""

    text: str
    at: float
    kid: str
    wrongful: bool


@dataclass(slots=True)
class Counts:
    """What a verifier saw."""

    checked: int = 0
    fetches: int = 0
    failed_fetches: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def wrongful(self) -> list[Refusal]:
        return [refusal for refusal in self.refused if refusal.wrongful]

    @property
    def by_text(self) -> Counter[str]:
        """The wrongful ones, counted."""
        return Counter(refusal.text for refusal in self.wrongful)


@dataclass(frozen=True, slots=True)
class _Entry:
    retrieved_at: float
    sets: tuple[tuple[Rule, tuple[SetKey, ...]], ...]

    def find(self, kid: str, role: str) -> tuple[Rule, SetKey] | None:
        """The first key with the kid. Over several sets the real order is a hash map's: kids must differ."""
        return next(
            (
                (rule, key)
                for rule, keys in self.sets
                if role in rule.role_names
                for key in keys
                if key.kid == kid
            ),
            None,
        )


class _Slot:
    """The place of an entry in the cache, never evicted; one renewal at a time."""

    def __init__(self) -> None:
        self.entry: _Entry | None = None
        self.permit = asyncio.Lock()


class Verifier:
    """One process of Neon's."""

    def __init__(
        self,
        fetch: Fetch,
        rules: Rules,
        clock: Clock,
        *,
        ages: Ages = PUBLISHED,
        good: Callable[[str], bool] = lambda token: False,
        seed: int = 0,
    ) -> None:
        """`good` is the issuer's word: whether a token has neither expired nor been revoked."""
        self._fetcher = KeySetFetcher(fetch, clock, random.Random(seed))
        self._rules = rules
        self._clock = clock
        self._ages = ages
        self._good = good
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self.counts = Counts()

    async def verify(self, token: str, endpoint: str, role: str) -> Mapping[str, Any]:
        """The claims of a token for a database role. Raises RefusedError with the text of the refusal."""
        good, began = self._good(token), self._clock.monotonic()
        self.counts.checked += 1
        kid = ""
        try:
            read = read_token(token)
            kid = read.kid
            claims = await self._verify(read, endpoint, role)
        except RefusedError as error:
            self._count(error.text, kid, wrongful=good)
            raise
        waited = self._clock.monotonic() - began
        if waited > PATIENCE_SECONDS:
            self._count(HUNG, kid, wrongful=good)
        return claims

    @property
    def longest_hang(self) -> float:
        """How long an unknown kid may hang, in seconds."""
        return self._ages.floor

    async def close(self) -> None:
        """Ends the fetches in the background."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def settled(self) -> None:
        """Returns when no fetch is under way in the background."""
        while self._background:
            await asyncio.wait(self._background)

    async def _verify(self, token: Token, endpoint: str, role: str) -> Mapping[str, Any]:
        slot = self._slots.setdefault((endpoint, role), _Slot())
        # The key is fetched before anything of the token is checked.
        rule, key = await self._find(slot, endpoint, role, token.kid)
        key.check(token.signed, token.signature, token.algorithm)
        check_claims(token.claims, self._clock.now(), rule.audience)
        check_names(token.claims)
        return token.claims

    async def _find(self, slot: _Slot, endpoint: str, role: str, kid: str) -> tuple[Rule, SetKey]:
        entry = await self._current(slot, endpoint)
        while (found := entry.find(kid, role)) is None:
            if self._age(entry) <= self._ages.unknown_kid:
                raise RefusedError(refusals.JWK_NOT_FOUND)
            if (young := self._ages.floor - self._age(entry)) > 0:
                # The real one spins here without a pause; whoever looks on sees no more than a wait.
                await self._clock.sleep(max(0.001, young))
            async with slot.permit:
                entry = await self._renewed(slot, endpoint)
        return found

    async def _current(self, slot: _Slot, endpoint: str) -> _Entry:
        """The entry to look in, fetched first if there is none or it is too old."""
        entry = slot.entry
        if entry is None or self._age(entry) > self._ages.longest:
            async with slot.permit:
                return await self._renewed(slot, endpoint)
        if self._age(entry) > self._ages.background and not slot.permit.locked():
            await slot.permit.acquire()  # free, so without a wait
            task = asyncio.create_task(self._renew_in_background(slot, endpoint))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        return entry

    async def _renew_in_background(self, slot: _Slot, endpoint: str) -> None:
        try:
            await self._renewed(slot, endpoint)
        except RefusedError:
            pass  # the entry stays as it was
        finally:
            slot.permit.release()

    async def _renewed(self, slot: _Slot, endpoint: str) -> _Entry:
        """A new entry, unless the present one is too young for that. The caller holds the permit."""
        if slot.entry is not None and self._age(slot.entry) < self._ages.floor:
            return slot.entry
        retrieved_at = self._clock.monotonic()
        try:
            rules = await self._rules(endpoint)
        except Exception:
            raise RefusedError(refusals.FETCH_RULES) from None
        sets = []
        for rule in rules:
            self.counts.fetches += 1
            try:
                sets.append((rule, await self._fetcher.keys(rule.jwks_url)))
            except FetchFailedError:
                # The old keys are not kept: this set is empty until the next renewal.
                self.counts.failed_fetches += 1
        slot.entry = _Entry(retrieved_at, tuple(sets))
        return slot.entry

    def _age(self, entry: _Entry) -> float:
        return self._clock.monotonic() - entry.retrieved_at

    def _count(self, text: str, kid: str, *, wrongful: bool) -> None:
        self.counts.refused.append(Refusal(text=text, at=self._clock.now(), kid=kid, wrongful=wrongful))


def one_rule(rule: Rule) -> Rules:
    """The control plane of a project with one key set."""

    async def rules(endpoint: str) -> tuple[Rule, ...]:
        return (rule,)

    return rules
