"""One exchange with Neon: a token, a place among those that run at once, the request, and what it came to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sidecar.core.claims import Json
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.transactions import Isolation
from sidecar.postgres.neon_http import answers
from sidecar.postgres.neon_http.answers import Reading, Result
from sidecar.postgres.neon_http.batch import REQUEST_LIMIT, Batch
from sidecar.postgres.neon_http.target import Target

_RANDOM: Final = random.SystemRandom()
_TOKEN_SECONDS: Final = 60
"""Lifetime of a token for claims that have no `exp`: none leaves without one."""
_SLACK_SECONDS: Final = 10.0
"""By so much an answer may come later than Postgres ends the statement: Neon may have to start Postgres."""

_ISOLATION: Final = {
    Isolation.READ_COMMITTED: "ReadCommitted",
    Isolation.REPEATABLE_READ: "RepeatableRead",
    Isolation.SERIALIZABLE: "Serializable",
}
"""As Neon's header names them."""


class Post(Protocol):
    """Sends a request and gives the status and body, None for a body that is too long.

    Raises ConnectionRefusedError when no connection could be had, so that nothing was sent, with public words
    why; and ConnectionResetError when the request may have been sent, but no whole answer came.
    """

    def __call__(self, headers: Mapping[str, str], body: bytes) -> Awaitable[tuple[int, bytes | None]]:
        """Posts."""
        ...


Sign = Callable[[Mapping[str, Json]], str]
"""Signs claims as a token. Raises UsherError SIGNING_UNAVAILABLE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeonSettings:
    """Whom statements run as, where, and how many at a time. `acquire_timeout` in seconds."""

    target: Target
    role: str = "authenticated"
    audience: str = ""
    """What `aud` of every token holds; "" for what it holds anyway."""
    concurrency: int = 10
    acquire_timeout: float = 5.0
    allow_privileged_role: bool = False
    show_database_messages: bool = False
    max_result_bytes: int = 4 * 1024**2
    """Most that the values of a result may have."""

    def validate(self) -> None:
        """Raises SettingsError for limits that cannot be."""
        if not 1 <= self.concurrency <= 1000 or self.acquire_timeout <= 0:
            raise SettingsError("pool_max_size must lie between 1 and 1000, pool_acquire_timeout be positive")


class Exchange:
    """Sends batches. `on_lost` is called when Neon cannot be reached, with public words."""

    def __init__(self, post: Post, sign: Sign, settings: NeonSettings, clock: Clock) -> None:
        self.on_lost: Callable[[str], None] = lambda why: None
        self._post = post
        self._sign = sign
        self._settings = settings
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._waiting = 0
        self._running = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Requests under way, and calls that wait for their turn."""
        return self._running, self._waiting

    async def send(
        self,
        scope: Scope,
        batch: Batch,
        timeout: float,
        *,
        read_only: bool,
        isolation: Isolation | None = None,
        statements: int = 1,
    ) -> list[Result]:
        """Runs a batch as the scope's subject; the results that are its own. Raises UsherError.

        Each of its `statements` may run for `timeout` seconds.
        """
        body = batch.body()
        if len(body) > REQUEST_LIMIT:
            raise answers.request_too_large()
        await self._take_slot()
        self._running += 1
        try:
            headers = self._headers(scope, read_only, isolation)
            return await self._send(headers, batch, body, timeout, read_only, statements)
        finally:
            self._running -= 1
            self._slots.release()

    def seed(self) -> float:
        """A seed for Postgres' random()."""
        return _RANDOM.uniform(-1, 1)

    async def _send(
        self,
        headers: Mapping[str, str],
        batch: Batch,
        body: bytes,
        timeout: float,
        read_only: bool,
        statements: int,
    ) -> list[Result]:
        started = self._clock.monotonic()
        whole = asyncio.timeout(timeout * statements + _SLACK_SECONDS)
        try:
            async with whole:
                status, answer = await self._posted(headers, body, read_only)
        except TimeoutError:
            if read_only:
                raise UsherError(
                    Reason.STATEMENT_TIMEOUT, "Neon did not answer within the statement's timeout"
                ) from None
            raise answers.outcome_unknown(read_only=False) from None
        reading = Reading(
            read_only=read_only,
            queries=len(batch.queries),
            prefix=batch.prefix,
            # Postgres starts its timer after ours; the tolerance is for clocks of unequal pace.
            timed_out=self._clock.monotonic() - started >= timeout * 0.99,
            show_messages=self._settings.show_database_messages,
        )
        found = answers.results(status, answer, reading)
        return [found[index] for index in batch.results]

    async def _posted(
        self, headers: Mapping[str, str], body: bytes, read_only: bool
    ) -> tuple[int, bytes | None]:
        """One more try where it is safe: nothing was sent, or nothing can have been written."""
        for last in (False, True):
            try:
                return await self._post(headers, body)
            except ConnectionRefusedError as error:
                if last:
                    why = str(error)
                    self.on_lost(why)
                    raise UsherError(Reason.DATABASE_UNAVAILABLE, f"{why}; retry later") from None
            except ConnectionResetError:
                if last or not read_only:
                    raise answers.outcome_unknown(read_only=read_only) from None
        raise AssertionError

    def _headers(self, scope: Scope, read_only: bool, isolation: Isolation | None) -> dict[str, str]:
        role = scope.role or self._settings.role
        headers = {
            "Authorization": f"Bearer {self._token(scope)}",
            "Neon-Connection-String": self._settings.target.connection_string(role),
            "Neon-Raw-Text-Output": "true",
            "Neon-Array-Mode": "true",
            "Content-Type": "application/json",
        }
        if isolation is not None:
            headers["Neon-Batch-Isolation-Level"] = _ISOLATION[isolation]
        return headers | ({"Neon-Batch-Read-Only": "true"} if read_only else {})

    def _token(self, scope: Scope) -> str:
        """The caller's own token where it says all that is needed; otherwise one for these claims."""
        audience = self._settings.audience
        if scope.token and (not audience or audience in scope.audiences):
            return scope.token
        payload = dict(scope.payload)
        payload.setdefault("exp", int(self._clock.now()) + _TOKEN_SECONDS)
        if audience and audience not in scope.audiences:
            payload["aud"] = [*scope.audiences, audience] if scope.audiences else audience
        return self._sign(payload)

    async def _take_slot(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.acquire_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise UsherError(
                Reason.POOL_EXHAUSTED,
                f"all {self._settings.concurrency} requests to Neon are busy; retry later",
            ) from None
        finally:
            self._waiting -= 1
