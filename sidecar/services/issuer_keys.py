"""The keys of the issuer of service-account tokens: fetched in the background, kept when a fetch fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sidecar.core.callers import Proof, unproven
from sidecar.core.clock import Clock
from sidecar.core.events import CallerKeysFetched, Observer
from sidecar.core.trusted_keys import TrustedKey, read_key_set

Fetch = Callable[[], Awaitable[bytes]]
"""Gets the JWK Set. Raises OSError or ValueError, whose text is fit for the log."""

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 15.0
"""After a fetch that failed."""
COOL_DOWN_SECONDS: Final = 10.0
"""Between fetches that unknown kids ask for: nobody can make this process hammer the issuer."""
PATIENCE_SECONDS: Final = 2.0
"""Longest wait of a call for a fetch."""
MOST_WAITING: Final = 64
"""Calls that wait so at a time: strangers must not take the places of callers that are known."""


class IssuerKeys:
    """The last good key set. `run` keeps it fresh."""

    def __init__(self, fetch: Fetch, clock: Clock, observer: Observer) -> None:
        self._fetch = fetch
        self._clock = clock
        self._observer = observer
        self._keys: Mapping[str, TrustedKey] = {}
        self._fetching = True
        self._tried_at = float("-inf")
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._waiting = 0

    def trouble(self) -> str | None:
        """What a health check says until the first set is there."""
        return None if self._keys else "the keys of caller_token_issuer could not be fetched yet"

    def known(self, kid: str) -> TrustedKey | None:
        """The key with this kid, if it is in the set as it is."""
        return self._keys.get(kid)

    async def find(self, kid: str) -> TrustedKey:
        """The key with this kid; for one that is new the set is fetched again, once in a while.

        Raises UsherError for one that is not there, soon in any case.
        """
        key = self._keys.get(kid)
        if key is None and self._may_hope():
            if not self._fetching:
                self._wanted.set()
            self._waiting += 1
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._tried.wait()
            finally:
                self._waiting -= 1
            key = self._keys.get(kid)
        if key is None:
            raise unproven("authorization: the token is refused, no key of its issuer has its kid", Proof.JWT)
        return key

    async def run(self) -> None:
        """Fetches now, from time to time and when a kid is unknown, until cancelled."""
        while True:
            self._fetching, self._tried_at = True, self._clock.monotonic()
            self._wanted.clear()
            good = await self._load()
            self._fetching = False
            # Those who wait for this fetch go on; who comes later waits for the next.
            self._tried.set()
            self._tried = asyncio.Event()
            await self._wanted_or_later(REFRESH_SECONDS if good else RETRY_SECONDS)

    def _may_hope(self) -> bool:
        """Whether a fetch is on its way, or may be asked for, and there is room to wait for it."""
        if self._waiting >= MOST_WAITING:
            return False
        return self._fetching or self._clock.monotonic() >= self._tried_at + COOL_DOWN_SECONDS

    async def _load(self) -> bool:
        try:
            self._keys = read_key_set(await self._fetch())
        except Exception as error:
            # Whatever is wrong with the endpoint: the set before is still a good one.
            text = str(error) if isinstance(error, OSError | ValueError) else ""
            detail = text or type(error).__name__
            self._observer(CallerKeysFetched(outcome="failed", keys=len(self._keys), detail=detail))
            return False
        self._observer(CallerKeysFetched(outcome="fetched", keys=len(self._keys)))
        return True

    async def _wanted_or_later(self, seconds: float) -> None:
        wanted = asyncio.ensure_future(self._wanted.wait())
        later = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({wanted, later}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wanted.cancel()
            later.cancel()
