"""What all backends on a Postgres connection share: one statement in one transaction, as somebody.

How the transaction becomes somebody's is each backend's own (`enter`).
"""

from __future__ import annotations

import abc
import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import SeenIdentity, Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import prepare
from sidecar.postgres.driver import Run, TooLargeError, execute_limited, run_to_end
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool
from sidecar.postgres.values import columnar

Sealed = TypeVar("Sealed")

_CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

_SLACK_SECONDS: Final = 0.1
"""By so much the sidecar waits longer than Postgres' own timer, whose error comes without a cancellation."""

_HAS_WRITTEN: Final = "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"

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
            # Begun and ended by hand: the pool rolls back whatever a failed block leaves.
            await self.enter(connection, scope, statement.timeout, read_only=statement.read_only)
            started = self._pool.clock.monotonic()
            # Postgres begins its timer anew for each portion of rows, and a statement may switch it off.
            whole = asyncio.timeout(statement.timeout + _SLACK_SECONDS)
            try:
                async with whole:
                    result = await self._fetch(connection, statement)
            except DRIVER_ERRORS as error:
                if whole.expired():
                    late = asyncpg.QueryCanceledError("cancelled by the sidecar")
                    raise self._translated(late, timed_out=True) from None
                ran = self._pool.clock.monotonic() - started
                # Postgres starts its timer after ours; the tolerance is for clocks of unequal pace.
                raise self._translated(error, timed_out=ran >= statement.timeout * 0.99) from None
            sealed = seal(result)
            await self._commit(connection, may_have_written=not statement.read_only)
            return sealed, result

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """See core.queries.Backend.who_am_i."""
        async with self._pool.lease() as connection:
            await self.enter(connection, scope, _WHO_AM_I_SECONDS, read_only=True)
            try:
                seen = await connection.fetchrow(_WHO_AM_I)
            except DRIVER_ERRORS as error:
                raise self._translated(error) from None
            await self._commit(connection, may_have_written=False)
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
    async def enter(
        self, connection: asyncpg.Connection[Any], scope: Scope, timeout: float, *, read_only: bool
    ) -> None:
        """Begins a transaction that is the scope's, each of its statements limited to `timeout` seconds.

        Raises UsherError. No SQL of the caller's has run by then.
        """

    async def _fetch(self, connection: asyncpg.Connection[Any], statement: Statement) -> ResultSet:
        prepared = await prepare(connection, statement.sql)
        arguments = bind(prepared.parameter_types, statement.parameters)
        # One row more than asked for tells whether there are more.
        try:
            run = await execute_limited(
                connection,
                prepared.statement,
                arguments,
                statement.max_rows + 1,
                self._settings.max_result_bytes,
            )
        except TooLargeError:
            limit = self._settings.max_result_bytes
            raise UsherError(
                Reason.RESULT_TOO_LARGE,
                f"the result has more than {limit} bytes, the limit; ask for fewer columns or rows "
                "(options.max_rows), or page by key: WHERE id > $1 ORDER BY id LIMIT n",
                {"limit": str(limit)},
            ) from None
        if not run.completed and await _writes(connection, statement):
            run = await run_to_end(connection, prepared.statement, run)
        truncated = len(run.records) > statement.max_rows
        kept = run.records[: statement.max_rows]
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

    def _translated(self, error: BaseException, *, timed_out: bool = False) -> UsherError:
        return translate(error, show_message=self._settings.show_database_messages, timed_out=timed_out)


async def _writes(connection: asyncpg.Connection[Any], statement: Statement) -> bool:
    """Whether a statement that the limit cut writes, and so must run to its end.

    Also a SELECT may, by a function. A reading one can be endless and stays cut. Only Postgres knows.
    """
    if statement.verb in WRITING_VERBS:
        return True
    if statement.read_only:
        return False
    return bool(await connection.fetchval(_HAS_WRITTEN))


def cannot_become(role: str) -> UsherError:
    """The caller had no part in this: the role is gone, or may not be taken any more."""
    return UsherError(
        Reason.DATABASE_NOT_INSTALLED,
        f"the login cannot become the role {role}; grant it, or run `usher db install`",
    )
