"""Whether Neon can be used: a whole look once, and from then on only what does not keep a database awake.

A database of Neon's goes to sleep when nobody asks it for a while, and costs nothing then. So an idle sidecar
asks the endpoint whether it is there, without a statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import DatabaseStateChanged, Observer
from sidecar.core.issuer import Scope
from sidecar.postgres.neon_http.batch import Query, batch_of_queries
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings

_PING_SECONDS: Final = 30.0
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 30.0
"""Not shorter: a token whose key Neon does not know is dear to its verifier."""
_LOOK_SECONDS: Final = 20.0
_FORGED: Final = "forged"

_LOOK: Final = """
SELECT auth.user_id()::pg_catalog.text,
       (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user)
         OR EXISTS (
           SELECT FROM pg_catalog.pg_class
           WHERE relrowsecurity AND NOT relforcerowsecurity
             AND pg_catalog.pg_has_role(current_user, relowner, 'USAGE')
         )
"""
_FORGE: Final = "SELECT pg_catalog.set_config('request.jwt.claims', $1, true)"

Ping = Callable[[], Awaitable[None]]
"""Asks the endpoint for no more than that it is there. Raises ConnectionError with public words why not."""


class Watch:
    """Keeps `trouble` true, and counts what runs."""

    def __init__(
        self,
        exchange: Exchange,
        ping: Ping,
        probe: Callable[[], Scope],
        settings: NeonSettings,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """`probe` makes a scope for looks of our own; its subject should own nothing."""
        self._exchange = exchange
        self._ping = ping
        self._probe = probe
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._problem: UsherError | None = UsherError(Reason.DATABASE_UNAVAILABLE, "not asked yet")
        self._fit = False
        self._closed = False
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._wake = asyncio.Event()
        exchange.on_lost = self._lost

    @property
    def trouble(self) -> str | None:
        """Why Neon cannot be used now, in public words; None when it can."""
        return self._problem.message if self._problem else None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """For the time of a statement. Raises UsherError: SHUTTING_DOWN, or why Neon is not fit for use."""
        if self._closed:
            raise UsherError(Reason.SHUTTING_DOWN, "the server is shutting down; retry on another")
        if not self._fit:
            reason = self._problem.reason if self._problem else Reason.DATABASE_UNAVAILABLE
            raise UsherError(reason, f"the database cannot be used: {self.trouble}")
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def run(self) -> None:
        """Looks until cancelled."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            self._wake.clear()
            self._report(await self._look())
            if self._problem is None:
                delay = _FIRST_RETRY_SECONDS
                await self._sleep(_PING_SECONDS)
            else:
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY_SECONDS)

    async def close(self, grace: float) -> None:
        """Takes no more, and waits so many seconds for what runs."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    async def _look(self) -> UsherError | None:
        try:
            if self._fit:
                await self._ping()
                return None
            return await self._whole_look()
        except ConnectionError as error:
            return UsherError(Reason.DATABASE_UNAVAILABLE, str(error))
        except UsherError as error:
            if error.reason in (Reason.UNDEFINED_OBJECT, Reason.INSUFFICIENT_PRIVILEGE):
                return UsherError(
                    Reason.DATABASE_NOT_INSTALLED,
                    "auth.user_id() cannot be called; install pg_session_jwt, and grant the role USAGE on "
                    "schema auth",
                )
            return error

    async def _whole_look(self) -> UsherError | None:
        """Who is seen, and whether a statement could pass for somebody else."""
        scope = self._probe()
        forged = json.dumps({"sub": _FORGED})
        queries = [Query(sql=_LOOK), Query(sql=_FORGE, parameters=(forged,)), Query(sql=_LOOK)]
        batch = batch_of_queries(queries, _LOOK_SECONDS, self._exchange.seed())
        found = await self._exchange.send(scope, batch, _LOOK_SECONDS, read_only=True)
        (before, exempt), (after, _) = found[0].rows[0], found[-1].rows[0]
        trouble = None
        if before != scope.subject:
            trouble = "auth.user_id() does not tell the subject of the token; install pg_session_jwt"
        elif after != before:
            trouble = "auth.user_id() believes what any SQL may set: pg_session_jwt runs without a key"
        elif exempt != "f" and not self._settings.allow_privileged_role:
            trouble = (
                "the role is exempt from row-level security: a superuser, with BYPASSRLS or owner of a table"
            )
        return UsherError(Reason.DATABASE_NOT_INSTALLED, trouble) if trouble else None

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, or until a statement has found that Neon cannot be reached."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            wake.cancel()

    def _lost(self, why: str) -> None:
        if self._fit:
            self._report(UsherError(Reason.DATABASE_UNAVAILABLE, why))
            self._wake.set()

    def _report(self, problem: UsherError | None) -> None:
        before = self.trouble
        self._problem = problem
        # Unreachable is not unfit: what was found fit before may be used again at once.
        self._fit = self._fit or problem is None
        if self.trouble != before:
            self._observer(
                DatabaseStateChanged(
                    reachable=problem is None, detail=self.trouble or "the database is ready"
                )
            )
