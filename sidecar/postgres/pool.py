"""The pool: connections that come clean and go back clean, and what is known of the database's health."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import ConnectionDiscarded, DatabaseStateChanged, Observer
from sidecar.postgres.claim_key import NEXT_CHALLENGE, Challenge
from sidecar.postgres.codecs import TypedConnection
from sidecar.postgres.connections import Connections, Lease, Open
from sidecar.postgres.driver import abandon
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble
from sidecar.postgres.logins import connector
from sidecar.postgres.relay import Relay, Row
from sidecar.postgres.sessions import MAY_WRITE, SESSION_SETTINGS, Pooling, scrub
from sidecar.postgres.slots import Slots

_PROBE_SECONDS: Final = 5.0
_FIRST_RETRY_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 5.0
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Where the database is and how many connections to keep. Times in seconds."""

    database_url: str
    min_size: int = 1
    max_size: int = 10
    acquire_timeout: float = 5.0
    """Longest wait for a free connection before a query is refused as POOL_EXHAUSTED."""
    max_waiting: int = 500
    """Most calls that wait for one; one more is refused at once, as is one whose deadline is too near."""
    connect_timeout: float = 5.0
    logins: int = 0
    """How many logins there are, named after the URL's user: usher_1, usher_2, ...; 0: the user itself."""
    pooling: Pooling = Pooling.DIRECT

    @property
    def own_sessions(self) -> bool:
        """Whether each session is the sidecar's alone: it is not by way of a pooler in transaction mode."""
        return self.pooling is Pooling.DIRECT and not names_pooler(self.database_url)

    def validate(self) -> None:
        """Raises SettingsError for sizes that contradict each other or a URL that is none."""
        check_database_url(self.database_url)
        if not 0 <= self.min_size <= self.max_size or not 1 <= self.max_size <= 1000:
            raise SettingsError(
                "pool_min_size must not exceed pool_max_size, which must lie between 1 and 1000"
            )
        if self.max_waiting < 0:
            raise SettingsError("pool_max_waiting must not be negative")
        if self.acquire_timeout <= 0 or self.connect_timeout <= 0:
            raise SettingsError("pool_acquire_timeout and the time to connect must be positive")


def check_database_url(url: str, setting: str = "database_url") -> None:
    """Raises SettingsError for what is no Postgres URL; it never repeats it, for the password in it."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    hosts = [_HOST.fullmatch(host) for host in parts.netloc.rpartition("@")[2].split(",")]
    if parts.scheme not in ("postgresql", "postgres") or not all(
        host and int(host[1] or 1) <= 65535 for host in hosts
    ):
        raise SettingsError(f"{setting} must look like postgresql://user:password@host:5432/database")


def names_pooler(url: str) -> bool:
    """Whether a host is one of Neon's pooled ones, `ep-name-pooler.…`: PgBouncer in transaction mode."""
    parts = urllib.parse.urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",") + urllib.parse.parse_qs(parts.query).get("host", [])
    return any(host.partition(".")[0].endswith("-pooler") for host in hosts)


@dataclass(frozen=True, slots=True)
class PoolState:
    """Counts at one moment: open connections, those lent out, and callers waiting for one."""

    size: int
    in_use: int
    waiting: int


Check = Callable[["asyncpg.Connection[Any]"], Awaitable[str | None]]
"""Looks at a database and says in public words why scoped statements cannot run on it safely, or None.
Raises OutdatedError when the session itself is to blame."""

Connect = Callable[..., Awaitable["asyncpg.Connection[Any]"]]
"""What opens a connection, as asyncpg.connect does. May raise UsherError beside asyncpg's errors."""


class OutdatedError(Exception):
    """The database is no longer what it was when this session was opened, so all are to be opened anew."""


class CutError(Exception):
    """Rows are on their way that nobody reads: the connection is of no use to the next user."""


class Pool:
    """Lends connections. Opens in the background, so that a database that is away stops nobody's start."""

    def __init__(
        self,
        settings: PoolSettings,
        check: Check,
        clock: Clock,
        observer: Observer,
        wrap_connect: Callable[[Connect], Connect] = lambda connect: connect,
    ) -> None:
        """`wrap_connect` puts something around the opening of each connection."""
        self.clock = clock
        self._settings = settings
        self._check = check
        self._observer = observer
        self._own_sessions = settings.own_sessions
        self._connections = Connections(_opener(settings, wrap_connect), settings.min_size, clock)
        self._problem: UsherError | None = UsherError(Reason.DATABASE_UNAVAILABLE, "not connected yet")
        self._fit = False
        self._closed = False
        self._slots = Slots(settings.max_size, settings.max_waiting, settings.acquire_timeout, clock)
        self._returning: set[asyncio.Future[Any]] = set()

    @property
    def trouble(self) -> str | None:
        """Why the database cannot be used now, in public words; None when it can."""
        return self._problem.message if self._problem else None

    @property
    def state(self) -> PoolState:
        """The counts now."""
        return PoolState(self._connections.size, self._connections.lent, self._slots.waiting)

    async def run(self) -> None:
        """Keeps `trouble` true until cancelled: connects, then asks the database at intervals."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            self._report(await self._probe())
            if self._problem is None:
                delay = _FIRST_RETRY_SECONDS
                await self.clock.sleep(_PROBE_SECONDS)
            else:
                await self.clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY_SECONDS)

    async def close(self, grace: float) -> None:
        """Lends no more, waits for what is lent, and closes all; at once what is still busy after `grace`."""
        self._closed = True
        # A close that is cut short terminates what is left.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._connections.close()
        await asyncio.gather(*self._returning, return_exceptions=True)

    def lease(self) -> Lease:
        """A clean connection for the time of a block.

        After the block it is rolled back if the block failed, committed if it left a transaction, and
        scrubbed: in the background, off the caller's path. It is lent again only when that went through; a
        statement cancelled half-way is cancelled in Postgres first. To enter the block raises UsherError:
        POOL_EXHAUSTED, DATABASE_UNAVAILABLE, DATABASE_NOT_INSTALLED or SHUTTING_DOWN.
        """
        return Lease(self._acquire, self._return)

    async def _acquire(self) -> asyncpg.Connection[Any]:
        if self._closed:
            raise UsherError(Reason.SHUTTING_DOWN, "the server is shutting down; retry on another")
        if not self._fit:
            reason = self._problem.reason if self._problem else Reason.DATABASE_UNAVAILABLE
            raise UsherError(reason, f"the database cannot be used: {self.trouble}")
        await self._slots.take()
        try:
            return await self._for_slot(self._connections.take)
        except UsherError as error:
            self._report(error)
            raise
        except DRIVER_ERRORS as error:
            problem = UsherError(Reason.DATABASE_UNAVAILABLE, connection_trouble(error))
            self._report(problem)
            raise UsherError(problem.reason, f"{problem.message}; retry later") from None

    async def _for_slot(
        self, take: Callable[[], Awaitable[asyncpg.Connection[Any]]]
    ) -> asyncpg.Connection[Any]:
        """A connection for a slot that is held; without one the slot is given free."""
        try:
            return await take()
        except BaseException:
            self._slots.release()
            raise

    def _return(self, connection: asyncpg.Connection[Any], failed: bool) -> None:
        # Off the caller's path, and whether or not the caller is cancelled.
        if failed or connection.relay.owed or self._settings.pooling is not Pooling.DIRECT:
            self._later(self._give_back(connection, failed=failed))
            return
        try:
            scrubbed = self._scrub(connection)
        except Exception as error:  # whatever it is, the slot must not be lost
            self._discard(connection, error)
            self._slots.release()
            return
        # Without a task, which would cost every query more.
        late = asyncio.get_running_loop().call_later(self._settings.connect_timeout, _too_late, scrubbed)
        self._returning.add(scrubbed)
        scrubbed.add_done_callback(functools.partial(self._scrubbed, connection, late))

    def _scrubbed(
        self, connection: asyncpg.Connection[Any], late: asyncio.TimerHandle, scrubbed: asyncio.Future[Row]
    ) -> None:
        late.cancel()
        self._returning.discard(scrubbed)
        try:
            self._number(connection, scrubbed.result())
            self._answers()
            kept = self._connections.keep(connection)
        except (Exception, asyncio.CancelledError) as error:  # as in _return
            self._discard(connection, error)
            kept = True
        if kept:
            self._slots.release()
        else:
            self._later(self._retire(connection))

    async def _give_back(self, connection: asyncpg.Connection[Any], *, failed: bool) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                if connection.relay.owed:
                    await abandon(connection)
                    raise CutError
                if failed:
                    # Waits for a cancellation under way, so it also tells whether the session still answers.
                    await connection.execute("ROLLBACK")
                if self._settings.pooling is Pooling.DIRECT:
                    self._number(connection, await self._scrub(connection))
                elif connection.is_in_transaction():
                    await connection.execute("COMMIT")
            self._answers()
            kept = self._connections.keep(connection)
        except BaseException as error:
            self._discard(connection, error)
            self._slots.release()
            if not isinstance(error, Exception):
                raise
            return
        if kept:
            self._slots.release()
        else:
            await self._retire(connection)

    async def _retire(self, connection: asyncpg.Connection[Any]) -> None:
        """Closes one that is clean and not needed."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._connections.retire(connection)
        except Exception as error:
            self._discard(connection, error)
        finally:
            self._slots.release()

    def _scrub(self, connection: asyncpg.Connection[Any]) -> asyncio.Future[Row]:
        """Ends a transaction, cleans the session, and gives it the number of the next one. Raises as the
        relay's `ask`."""
        connection.challenge.number = None
        # What only read is answered before the transaction has ended.
        end = "COMMIT;" if connection.is_in_transaction() else ""
        relay: Relay = connection.relay
        if self._numbers(connection):
            return relay.ask(f"{end}{MAY_WRITE};{scrub()};{NEXT_CHALLENGE}")
        return relay.ask(f"{end}{scrub()}")

    def _number(self, connection: asyncpg.Connection[Any], last: Row) -> None:
        """Keeps the number that the scrub's last row gave."""
        if self._numbers(connection):
            connection.challenge.number = int(last[0] or b"")

    def _numbers(self, connection: asyncpg.Connection[Any]) -> bool:
        challenge: Challenge = connection.challenge
        return self._own_sessions and challenge.offered

    def _answers(self) -> None:
        """The database answers: the probe may not have had its turn yet."""
        if self._fit and self._problem is not None:
            self._report(None)

    def _discard(self, connection: asyncpg.Connection[Any], error: BaseException) -> None:
        self._observer(ConnectionDiscarded(cause=type(error).__name__))
        self._connections.drop(connection)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _probe(self) -> UsherError | None:
        """One look at the database: what is wrong with it, if anything."""
        if self._closed:
            return self._problem
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._connections.tidy()
                if self._slots.locked():
                    return self._problem  # whoever uses the connections will tell
                async with self._unasked(self._connections.take) as connection:
                    trouble = await self._check(connection)
                if not trouble:
                    await asyncio.gather(*(self._add() for _ in range(self._connections.missing)))
        except OutdatedError as error:
            # Each is replaced as it comes back, or before it is lent again.
            await self._connections.renew()
            return UsherError(Reason.DATABASE_NOT_INSTALLED, f"{error}; connecting anew")
        except UsherError as error:
            return error
        except DRIVER_ERRORS as error:
            return UsherError(Reason.DATABASE_UNAVAILABLE, connection_trouble(error))
        return UsherError(Reason.DATABASE_NOT_INSTALLED, trouble) if trouble else None

    async def _add(self) -> None:
        """Opens one more connection, if there is room for it."""
        if not self._slots.locked():
            async with self._unasked(self._connections.open):
                pass

    def _unasked(self, take: Callable[[], Awaitable[asyncpg.Connection[Any]]]) -> Lease:
        """A connection for the pool's own use."""

        async def taken() -> asyncpg.Connection[Any]:
            await self._slots.take()
            return await self._for_slot(take)

        return Lease(taken, self._return)

    def _report(self, problem: UsherError | None) -> None:
        before = self.trouble
        self._problem = problem
        if problem is None or problem.reason is Reason.DATABASE_NOT_INSTALLED:
            # Unreachable is not unfit: what was found fit before may be used again at once.
            self._fit = problem is None
        if self.trouble != before:
            self._observer(
                DatabaseStateChanged(
                    reachable=problem is None, detail=self.trouble or "the database is ready"
                )
            )


def _too_late(scrubbed: asyncio.Future[Row]) -> None:
    if not scrubbed.done():
        scrubbed.set_exception(TimeoutError())


def _opener(settings: PoolSettings, wrap: Callable[[Connect], Connect]) -> Open:
    options: dict[str, Any] = {}
    if settings.pooling is Pooling.TRANSACTION:
        # Outside of a transaction each message may reach another session.
        options["statement_cache_size"] = 0
    else:
        options["server_settings"] = SESSION_SETTINGS
    connect: Connect = asyncpg.connect
    if settings.logins:
        connect = connector(settings.database_url, settings.logins)
    connect = wrap(connect)

    async def open_one() -> asyncpg.Connection[Any]:
        return await connect(
            settings.database_url,
            timeout=settings.connect_timeout,
            connection_class=TypedConnection,
            **options,
        )

    return open_one
