"""What all backends on a Postgres connection share: statements in one transaction, as somebody.

How the transaction becomes somebody's is each backend's own (`enter`).
"""

from __future__ import annotations

import abc
import asyncio
import enum
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.core.errors import Reason, SettingsError, UsherError, of_statement
from sidecar.core.issuer import Scope
from sidecar.core.queries import SeenIdentity, Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.transactions import Isolation, Transaction
from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import Prepared, check_encoding, prepare
from sidecar.postgres.driver import (
    Run,
    TooLargeError,
    exchange_of,
    execute_limited,
    run_to_end,
    size_of,
)
from sidecar.postgres.entry import Entry, is_serializable
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.exchange import Exchange, Part
from sidecar.postgres.known_statements import Known
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool
from sidecar.postgres.results import HAS_WRITTEN, has_written, result_of
from sidecar.postgres.who_am_i import seen_identity

Sealed = TypeVar("Sealed")
T = TypeVar("T")

_CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

_SLACK_SECONDS: Final = 0.1
"""By so much the sidecar waits longer than Postgres' own timer, whose error comes without a cancellation."""

_NUMBER_LOST: Final = ("55000", "US001")
"""The session has no number, or not the one that was believed: Usher's SQL side was installed anew, or an
unknown pooler is in between. Or the key is wrong; a new entry will tell."""

_WHO_AM_I_SECONDS: Final = 5.0


class Identity(enum.StrEnum):
    """How a statement's transaction becomes somebody's; the setting database_backend."""

    AUTO = "auto"
    """By a token where pg_session_jwt is installed, else by signed claims."""
    SIGNED_CLAIMS = "postgres"
    SESSION_JWT = "pg_session_jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSettings:
    """How statements run."""

    role: str = "authenticated"
    allow_privileged_login: bool = False
    shared_login: bool = False
    """Accepts a login that several sessions share."""
    identity: Identity = Identity.AUTO
    unsigned_claims: bool = False
    """Accepts functions that believe claims without a tag: those of pg_session_jwt without a key."""
    show_database_messages: bool = False
    max_result_bytes: int = 4 * 1024**2
    """Most that the values of a result may have; the message that carries them has the same limit."""

    def validate(self) -> None:
        """Raises SettingsError for a role that cannot be."""
        # `none` is no role to SET ROLE: it means the login itself.
        if not self.role or self.role.lower() == "none":
            raise SettingsError("database_role must be the name of a role, usually authenticated")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """What a statement gave. `settled` says that nothing depends on the end of the transaction."""

    result: ResultSet
    settled: bool


class _OutdatedError(Exception):
    """The schema, or the session's number, is not what it was. It is forgotten; nothing of the caller's has
    run that a rollback does not undo. `sql` is the statement of which what was known is outdated, if any."""

    def __init__(self, sql: str = "") -> None:
        super().__init__()
        self.sql = sql


class _StatementError(Exception):
    """A statement of a transaction has failed; `index` counts from 0."""

    def __init__(self, index: int, error: UsherError) -> None:
        super().__init__(error.reason)
        self.index = index
        self.error = error


class ScopedBackend(abc.ABC):
    """Runs statements in transactions; see core.transactions.TransactionBackend."""

    def __init__(self, pool: Pool, settings: ClaimSettings) -> None:
        self._pool = pool
        self._settings = settings

    @property
    @abc.abstractmethod
    def kind(self) -> str:
        """The name under which this backend is reported: how identity reaches Postgres."""

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        """See core.queries.Backend.run."""
        alone = Transaction(statements=(statement,))
        try:
            sealed, (result,) = await self._run(scope, alone, lambda results: seal(results[0]))
        except _StatementError as failed:
            raise failed.error from None
        return sealed, result

    async def run_transaction(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        """See core.transactions.TransactionBackend.run_transaction."""
        try:
            return await self._run(scope, transaction, seal)
        except _StatementError as failed:
            raise of_statement(failed.error, failed.index) from None

    async def _run(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        """Raises _StatementError, and UsherError for what is no statement's."""
        async with self._pool.lease() as connection:
            # Begun and ended by hand: the pool ends whatever a block leaves.
            transaction_entry = functools.partial(
                self.entry,
                connection,
                scope,
                transaction.timeout,
                read_only=transaction.read_only,
                isolation=transaction.isolation,
            )
            fetched = await self._answer(
                connection,
                transaction_entry,
                lambda entry, outdated: self._fetch_all(connection, entry, transaction, outdated),
            )
            results = [one.result for one in fetched]
            sealed = seal(results)
            if not all(one.settled for one in fetched):
                await self._commit(connection, may_have_written=not transaction.read_only)
            return sealed, results

    async def _answer(
        self,
        connection: asyncpg.Connection[Any],
        begin: Callable[[], Awaitable[Entry]],
        attempt: Callable[[Entry, set[str]], Awaitable[T]],
    ) -> T:
        """What `attempt` gives, and again where what is known from before turned out to be outdated.

        `attempt` is told the statements of which that holds.
        """
        outdated: set[str] = set()
        while True:
            entry = await begin()
            try:
                return await attempt(entry, outdated)
            except _OutdatedError as error:
                # No statement is outdated twice, so that this comes to an end.
                outdated.add(error.sql)
            try:
                await connection.execute("ROLLBACK")
            except DRIVER_ERRORS as error:
                raise self._translated(error) from None

    async def _fetch_all(
        self,
        connection: asyncpg.Connection[Any],
        entry: Entry,
        transaction: Transaction,
        outdated: set[str],
    ) -> list[_Fetched]:
        """One statement after the other; of those in `outdated` nothing is known. Raises _OutdatedError."""
        fetched: list[_Fetched] = []
        room = self._settings.max_result_bytes
        for index, statement in enumerate(transaction.statements):
            if index:
                entry = entry.again()
                room -= size_of(fetched[-1].result.data)
            known = None
            if statement.sql not in outdated:
                known = connection.known.find(entry.role, statement.sql)
            try:
                check_encoding(connection)
                fetching = self._fetch(connection, entry, statement, known, room)
                fetched.append(await self._in_time(fetching, statement.timeout))
            except UsherError as error:
                # What is not installed is missing for all of them.
                if error.reason is Reason.DATABASE_NOT_INSTALLED:
                    raise
                raise _StatementError(index, error) from None
        return fetched

    async def _in_time(self, work: Coroutine[Any, Any, T], seconds: float, started: float | None = None) -> T:
        """Awaits the work for so long, and raises what the driver raises as UsherError.

        `started` is when Postgres began, by the monotonic clock; None for now.
        """
        started = self._pool.clock.monotonic() if started is None else started
        # Postgres begins its timer anew for each portion of rows, and a statement may switch it off.
        whole = asyncio.timeout(seconds + _SLACK_SECONDS)
        try:
            async with whole:
                return await work
        except DRIVER_ERRORS as error:
            if whole.expired():
                late = asyncpg.QueryCanceledError("cancelled by the sidecar")
                raise self._translated(late, timed_out=True) from None
            ran = self._pool.clock.monotonic() - started
            # Postgres starts its timer after ours; the tolerance is for clocks of unequal pace.
            raise self._translated(error, timed_out=ran >= seconds * 0.99) from None

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """See core.queries.Backend.who_am_i."""
        async with self._pool.lease() as connection:
            await self.enter(connection, scope, _WHO_AM_I_SECONDS, read_only=True)
            try:
                return await seen_identity(connection, scope)
            except DRIVER_ERRORS as error:
                raise self._translated(error) from None

    @abc.abstractmethod
    async def entry(
        self,
        connection: asyncpg.Connection[Any],
        scope: Scope,
        timeout: float,
        *,
        read_only: bool,
        isolation: Isolation | None = None,
    ) -> Entry:
        """How a transaction of this connection becomes the scope's, each of its statements limited to
        `timeout` seconds. Raises UsherError. No SQL of the caller's has run by then.
        """

    async def enter(
        self, connection: asyncpg.Connection[Any], scope: Scope, timeout: float, *, read_only: bool
    ) -> None:
        """Makes it so, in a round trip of its own. Raises UsherError."""
        entry = await self.entry(connection, scope, timeout, read_only=read_only)
        exchange = Exchange(entry.steps)
        try:
            await connection.relay.finish(exchange)
        except DRIVER_ERRORS as error:
            refusal = self._of_entry(connection, entry, exchange, error)
            if not isinstance(refusal, _OutdatedError):
                raise refusal from None
            await connection.execute("ROLLBACK")
            await self.enter(connection, scope, timeout, read_only=read_only)

    async def _fetch(
        self,
        connection: asyncpg.Connection[Any],
        entry: Entry,
        statement: Statement,
        known: Known | None,
        room: int,
    ) -> _Fetched:
        """What a statement gives, of at most `room` bytes. In one round trip with its entry, if it is known.

        Raises _OutdatedError when what is known is outdated; the transaction is then to be rolled back, and
        nothing is known of the statement.
        """
        if known is not None:
            prepared, before, described = known.prepared, entry.steps, known.described
        else:
            prepared, entered = await self._prepare(connection, entry, statement.sql)
            before, described = (), b""
        arguments = bind(prepared.parameter_types, statement.parameters)
        after = () if statement.read_only or statement.verb in WRITING_VERBS else (HAS_WRITTEN,)
        exchange = exchange_of(prepared, before, after, described=described)
        try:
            run = await self._execute(connection, prepared, arguments, statement, exchange, room)
        except Exception as error:  # asyncpg raises anything when it reads columns as what they are not
            if exchange.failed is Part.BEFORE and isinstance(error, DRIVER_ERRORS):
                raise self._of_entry(connection, entry, exchange, error) from None
            if known is not None and known.is_outdated(exchange, error):
                connection.known.forget(entry.role, statement.sql)
                raise _OutdatedError(statement.sql) from None
            raise
        if known is not None:
            entered = exchange
            if known.is_outdated(exchange):
                connection.known.forget(entry.role, statement.sql)
                raise _OutdatedError(statement.sql)
        else:
            learned = Known(prepared=prepared, described=exchange.described)
            connection.known.keep(entry.role, statement.sql, learned)
        wrote = await has_written(connection, statement, run, exchange)
        if not run.completed and wrote:
            run = await run_to_end(connection, prepared, run)
        return _Fetched(
            result=result_of(prepared, run, statement.max_rows),
            settled=not wrote and not is_serializable(entry, entered),
        )

    async def _prepare(
        self, connection: asyncpg.Connection[Any], entry: Entry, sql: str
    ) -> tuple[Prepared, Exchange]:
        """The statement, prepared in the transaction that the exchange made the scope's, in one round trip.

        Raises as _fetch does.
        """
        exchange = Exchange(entry.steps)
        try:
            return await prepare(connection, sql, exchange), exchange
        except DRIVER_ERRORS as error:
            if exchange.failed is Part.BEFORE:
                raise self._of_entry(connection, entry, exchange, error) from None
            raise

    async def _execute(
        self,
        connection: asyncpg.Connection[Any],
        prepared: Prepared,
        arguments: list[Any],
        statement: Statement,
        exchange: Exchange,
        room: int,
    ) -> Run:
        limit = self._settings.max_result_bytes
        try:
            # One row more than asked for tells whether there are more.
            return await execute_limited(
                connection, prepared, arguments, statement.max_rows + 1, room, exchange
            )
        except TooLargeError:
            subject = "the result has" if room == limit else "the results together have"
            raise UsherError(
                Reason.RESULT_TOO_LARGE,
                f"{subject} more than {limit} bytes, the limit; ask for fewer columns or rows "
                "(max_rows), or page by key: WHERE id > $1 ORDER BY id LIMIT n",
                {"limit": str(limit)},
            ) from None

    async def _commit(self, connection: asyncpg.Connection[Any], *, may_have_written: bool) -> None:
        try:
            tag = await connection.execute("COMMIT")
        except _CONNECTION_ERRORS as error:
            if not may_have_written:
                raise self._translated(error) from None
            raise UsherError(
                Reason.DATABASE_ERROR,
                "the connection was lost during the commit: look whether the statement was written before "
                "you repeat it [SQLSTATE 08007]",
                {"sqlstate": "08007"},
            ) from None
        except DRIVER_ERRORS as error:
            raise self._translated(error) from None
        if tag != "COMMIT":  # a transaction that has failed ends in ROLLBACK, without an error
            raise UsherError(Reason.DATABASE_ERROR, "the transaction was rolled back; nothing was written")

    def _of_entry(
        self, connection: asyncpg.Connection[Any], entry: Entry, exchange: Exchange, error: BaseException
    ) -> UsherError | _OutdatedError:
        if entry.by_number and getattr(error, "sqlstate", None) in _NUMBER_LOST:
            connection.challenge.number = None
            return _OutdatedError()
        return entry.explain(len(exchange.rows), error) or self._translated(error)

    def _translated(self, error: BaseException, *, timed_out: bool = False) -> UsherError:
        return translate(error, show_message=self._settings.show_database_messages, timed_out=timed_out)
