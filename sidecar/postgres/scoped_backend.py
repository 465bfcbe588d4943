"""What all backends on a Postgres connection share: one statement in one transaction, as somebody.

How the transaction becomes somebody's is each backend's own (`enter`).
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import SeenIdentity, Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import Prepared, prepare
from sidecar.postgres.driver import Run, TooLargeError, exchange_of, execute_limited, run_to_end
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.known_statements import Known
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool
from sidecar.postgres.relay import Exchange, Part
from sidecar.postgres.values import columnar
from sidecar.postgres.wire import Step

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

_HAS_WRITTEN: Final = Step(sql="SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL")

_NUMBER_LOST: Final = ("55000", "US001")
"""The session has no number, or not the one that was believed: Usher's SQL side was installed anew, or an
unknown pooler is in between. Or the key is wrong; a new entry will tell."""

SERIALIZABLE: Final = (
    "pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'serializable'"
)
"""Whether even a transaction that only reads may be refused at its end."""

_WHO_AM_I: Final = """
SELECT current_user::pg_catalog.text AS role,
       session_user::pg_catalog.text AS login_role,
       auth.user_id() AS user_id,
       auth.session()::pg_catalog.text AS session,
       extract(epoch FROM pg_catalog.now())::pg_catalog.float8 AS now,
       (SELECT NOT (rolsuper OR rolbypassrls) FROM pg_catalog.pg_roles WHERE rolname = current_user)
         AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_class
           WHERE relrowsecurity AND NOT relforcerowsecurity
             AND pg_catalog.pg_has_role(current_user, relowner, 'USAGE')
         ) AS rls,
       pg_catalog.current_database()::pg_catalog.text AS database,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version
"""
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
class Entry:
    """What makes a transaction the scope's, to be sent before its statement."""

    role: str
    steps: tuple[Step, ...]
    """The last value of the last one is SERIALIZABLE."""
    by_number: bool = False
    """Whether they rest on the session's number, which it may have lost."""
    explain: Callable[[int, BaseException], UsherError | None]
    """What it means that the step with this number failed; None when that is no different from elsewhere."""


class _OutdatedError(Exception):
    """The schema, or the session's number, is not what it was. It is forgotten; nothing of the caller's has
    run that a rollback does not undo."""


class ScopedBackend(abc.ABC):
    """Runs each statement in a transaction of its own; see core.queries.Backend."""

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
        async with self._pool.lease() as connection:
            # Begun and ended by hand: the pool ends whatever a block leaves.
            entry = await self.entry(connection, scope, statement.timeout, read_only=statement.read_only)
            async with self._limited(statement.timeout):
                result, settled = await self._answer(
                    connection,
                    scope,
                    statement,
                    entry,
                    lambda entry: self._fetch(connection, entry, statement),
                )
            sealed = seal(result)
            if not settled:
                await self._commit(connection, may_have_written=not statement.read_only)
            return sealed, result

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float, started: float | None = None) -> AsyncIterator[None]:
        """Ends the block when its time has passed, and raises what the driver raises as UsherError.

        `started` is when Postgres began, by the monotonic clock; None for now.
        """
        started = self._pool.clock.monotonic() if started is None else started
        # Postgres begins its timer anew for each portion of rows, and a statement may switch it off.
        whole = asyncio.timeout(seconds + _SLACK_SECONDS)
        try:
            async with whole:
                yield
        except DRIVER_ERRORS as error:
            if whole.expired():
                late = asyncpg.QueryCanceledError("cancelled by the sidecar")
                raise self._translated(late, timed_out=True) from None
            ran = self._pool.clock.monotonic() - started
            # Postgres starts its timer after ours; the tolerance is for clocks of unequal pace.
            raise self._translated(error, timed_out=ran >= seconds * 0.99) from None

    async def _answer(
        self,
        connection: asyncpg.Connection[Any],
        scope: Scope,
        statement: Statement,
        entry: Entry,
        attempt: Callable[[Entry], Awaitable[T]],
    ) -> T:
        """What `attempt` gives, again where what is known from before turned out to be outdated."""
        while True:
            try:
                return await attempt(entry)
            except _OutdatedError:
                # What was outdated is forgotten, so that this comes to an end.
                await connection.execute("ROLLBACK")
                entry = await self.entry(connection, scope, statement.timeout, read_only=statement.read_only)

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """See core.queries.Backend.who_am_i."""
        async with self._pool.lease() as connection:
            await self.enter(connection, scope, _WHO_AM_I_SECONDS, read_only=True)
            try:
                seen = await connection.fetchrow(_WHO_AM_I)
            except DRIVER_ERRORS as error:
                raise self._translated(error) from None
        assert seen is not None  # the query has no FROM: it always gives one row
        issued_at = scope.payload.get("iat")
        return SeenIdentity(
            role=seen["role"],
            login_role=seen["login_role"],
            user_id=seen["user_id"],
            session=seen["session"],
            claims_age=seen["now"] - issued_at if isinstance(issued_at, int | float) else None,
            row_security_applies=seen["rls"],
            database=seen["database"],
            server_version=seen["version"],
        )

    @abc.abstractmethod
    async def entry(
        self, connection: asyncpg.Connection[Any], scope: Scope, timeout: float, *, read_only: bool
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
        self, connection: asyncpg.Connection[Any], entry: Entry, statement: Statement
    ) -> tuple[ResultSet, bool]:
        """The result, and whether nothing depends on the end of the transaction any more.

        In one round trip what is known of the statement from before. Raises _OutdatedError when that is
        outdated; the transaction is then to be rolled back, and nothing is known of the statement.
        """
        known = connection.known.find(entry.role, statement.sql)
        if known is not None:
            prepared, before = known.prepared, entry.steps
        else:
            prepared, entered = await self._prepare(connection, entry, statement.sql)
            before = ()
        arguments = bind(prepared.parameter_types, statement.parameters)
        after = () if statement.read_only or statement.verb in WRITING_VERBS else (_HAS_WRITTEN,)
        exchange = exchange_of(prepared, before, after)
        try:
            run = await self._execute(connection, prepared, arguments, statement, exchange)
        except Exception as error:  # asyncpg raises anything when it reads columns as what they are not
            if exchange.failed is Part.BEFORE and isinstance(error, DRIVER_ERRORS):
                raise self._of_entry(connection, entry, exchange, error) from None
            if known is not None and _outdated(known, exchange, error):
                connection.known.forget(entry.role, statement.sql)
                raise _OutdatedError from None
            raise
        if known is not None:
            entered = exchange
            if _outdated(known, exchange):
                connection.known.forget(entry.role, statement.sql)
                raise _OutdatedError
        else:
            learned = Known(prepared=prepared, described=exchange.described)
            connection.known.keep(entry.role, statement.sql, learned)
        wrote = await _wrote(connection, statement, run, exchange)
        if not run.completed and wrote:
            run = await run_to_end(connection, prepared, run)
        serializable = is_serializable(entry, entered)
        return _result_of(prepared, run, statement.max_rows), not wrote and not serializable

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
    ) -> Run:
        limit = self._settings.max_result_bytes
        try:
            # One row more than asked for tells whether there are more.
            return await execute_limited(
                connection, prepared, arguments, statement.max_rows + 1, limit, exchange
            )
        except TooLargeError:
            raise UsherError(
                Reason.RESULT_TOO_LARGE,
                f"the result has more than {limit} bytes, the limit; ask for fewer columns or rows "
                "(options.max_rows), or page by key: WHERE id > $1 ORDER BY id LIMIT n",
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


def is_serializable(entry: Entry, entered: Exchange) -> bool:
    """Whether even a transaction that only reads may be refused at its end."""
    return entered.rows[len(entry.steps) - 1][-1] == b"t"


def _result_of(prepared: Prepared, run: Run, max_rows: int) -> ResultSet:
    truncated = len(run.records) > max_rows
    kept = run.records[:max_rows]
    if truncated and run.command in ("", "SELECT"):
        run = Run(records=kept, completed=True, command="SELECT", count=len(kept))
    return ResultSet(
        columns=prepared.columns,
        data=columnar(prepared, kept),
        row_count=len(kept) if prepared.columns else 0,
        truncated=truncated,
        command_tag=run.command if run.count is None else f"{run.command} {run.count}",
        affected_rows=run.count or 0,
    )


async def _wrote(
    connection: asyncpg.Connection[Any], statement: Statement, run: Run, exchange: Exchange
) -> bool:
    """Whether the statement has written, or may have: then it must run to its end, and be committed.

    Also a SELECT may, by a function. A reading one can be endless and stays cut. Only Postgres knows.
    """
    if statement.verb in WRITING_VERBS:
        return True
    if statement.read_only:
        return False
    if run.portions == 1:
        return exchange.rows[-1] == (b"t",)
    return run.completed or bool(await connection.fetchval(_HAS_WRITTEN.sql))


def _outdated(known: Known, exchange: Exchange, error: BaseException | None = None) -> bool:
    """Whether the schema is another than it was when the statement became known."""
    if exchange.failed is Part.DESCRIPTION:
        return isinstance(error, asyncpg.SyntaxOrAccessError | asyncpg.InvalidSchemaNameError)
    return exchange.described not in (b"", known.described)


def cannot_become(role: str) -> UsherError:
    """The caller had no part in this: the role is gone, or may not be taken any more."""
    return UsherError(
        Reason.DATABASE_NOT_INSTALLED,
        f"the login cannot become the role {role}; grant it, or run `usher db install`",
    )
