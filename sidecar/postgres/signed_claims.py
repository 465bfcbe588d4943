"""Backend: any Postgres, claims that no SQL can forge.

Claims travel as a transaction-local setting, which SQL may change; auth.session() believes them only with a
tag that was made for this transaction, backend and role (claim_key.py, sql/0002_signed_claims.up.sql,
docs/adr/0006-signed-claims.md). Where pg_session_jwt is installed its own functions decide instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import SeenIdentity, Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.values import ResultSet
from sidecar.postgres.claim_key import BINDING, ClaimKey
from sidecar.postgres.codecs import prepare
from sidecar.postgres.driver import Run, execute_limited, run_to_end
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool, Pooling, head
from sidecar.postgres.values import columnar

Sealed = TypeVar("Sealed")

_ENTER: Final = """
SELECT pg_catalog.set_config('request.jwt.claims', $1, true),
       pg_catalog.set_config('usher.claim_tag', $2, true),
       pg_catalog.set_config('statement_timeout', $3, true),
       pg_catalog.set_config('role', $4, true),
       usher.claims() IS NOT NULL
"""
"""In this order: Postgres works a target list off from left to right, and the claims are believed under their
role only. Asking for them here tells a wrong key from a statement that changed its claims."""

_TAMPERED: Final = "US001"
_KEY_UNKNOWN: Final = (
    "the database does not know claim_key; compare it with `usher db key list`, or run `usher db key add`"
)

_CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

_HAS_WRITTEN: Final = "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"

_WHO_AM_I: Final = """
SELECT current_user::pg_catalog.text AS role,
       session_user::pg_catalog.text AS login_role,
       auth.user_id() AS user_id,
       auth.session()::pg_catalog.text AS session,
       extract(epoch FROM pg_catalog.now())::pg_catalog.float8 AS now,
       (SELECT NOT (rolsuper OR rolbypassrls) FROM pg_catalog.pg_roles WHERE rolname = current_user) AS rls,
       pg_catalog.current_database()::pg_catalog.text AS database,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version
"""
_WHO_AM_I_SECONDS: Final = 5.0

# The functions are looked up in the catalog: to_regprocedure fails where the login may not use the schema.
# Since 16 a membership may come without the right to SET ROLE.
_CHECK: Final = """
WITH login AS (
  SELECT CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
              THEN 'SET' ELSE 'MEMBER' END AS may_become
)
SELECT
  r.oid IS NOT NULL AS role_exists,
  coalesce(pg_catalog.pg_has_role(session_user, r.oid, login.may_become), false) AS member,
  coalesce(r.rolsuper OR r.rolbypassrls, false) AS role_privileged,
  EXISTS (
    SELECT FROM pg_catalog.pg_roles AS other
    WHERE (other.rolsuper OR other.rolbypassrls)
      AND pg_catalog.pg_has_role(session_user, other.oid, login.may_become)
  ) AS login_privileged,
  (SELECT pg_catalog.count(DISTINCT f.proname) FROM pg_catalog.pg_proc AS f
   WHERE f.pronamespace = n.oid AND f.proname IN ('session', 'user_id') AND f.pronargs = 0) = 2 AS installed,
  EXISTS (
    SELECT FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS u ON u.oid = f.pronamespace
    WHERE u.nspname = 'usher' AND f.proname = 'claims' AND f.pronargs = 0
  ) AS signed,
  EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_session_jwt') AS foreign_functions,
  EXISTS (
    SELECT FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
    WHERE g.rolname = 'usher_login' AND l.rolname = session_user AND NOT m.admin_option
  ) AS marked,
  (SELECT rolconnlimit = 1 FROM pg_catalog.pg_roles WHERE rolname = session_user) AS alone,
  coalesce(pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE'), false) AS usable
FROM login
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = $1
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'auth'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSettings:
    """How statements run."""

    role: str = "authenticated"
    allow_privileged_login: bool = False
    shared_login: bool = False
    """Accepts a login that several sessions share."""
    unsigned_claims: bool = False
    """Accepts functions that believe claims without a tag: those of pg_session_jwt."""
    show_database_messages: bool = False

    def validate(self) -> None:
        """Raises SettingsError for a role that cannot be."""
        # `none` is no role to SET ROLE: it means the login itself.
        if not self.role or self.role.lower() == "none":
            raise SettingsError("database_role must be the name of a role, usually authenticated")


async def check_database(
    connection: asyncpg.Connection[Any], settings: ClaimSettings, key: ClaimKey
) -> str | None:
    """Why scoped statements cannot run safely with this login on this database; None when they can.

    Raises asyncpg's errors.
    """
    async with connection.transaction():
        found = await connection.fetchrow(_CHECK, settings.role)
    assert found is not None  # its first table has one row
    trouble = _of_database(found, settings) or _of_login(found, settings)
    return trouble or await _of_key(connection, settings.role, key)


def _of_database(found: asyncpg.Record, settings: ClaimSettings) -> str | None:
    role = settings.role
    if not found["installed"]:
        return "auth.session() and auth.user_id() are missing; run `usher db install`"
    if not found["signed"]:
        return "usher.claims() is missing, so that any SQL could forge claims; run `usher db install`"
    if found["foreign_functions"] and not settings.unsigned_claims:
        return (
            "pg_session_jwt is installed, and its functions believe claims that any SQL can forge; drop the "
            "extension, or set unsigned_claims to accept it"
        )
    if not found["role_exists"]:
        return f"the role {role} does not exist; run `usher db install`, or name another database_role"
    if found["role_privileged"]:
        return f"the role {role} is a superuser or has BYPASSRLS, so that no policy applies to it"
    if not found["usable"]:
        return f"the role {role} may not use the schema auth; run `GRANT USAGE ON SCHEMA auth TO {role}`"
    return None


def _of_login(found: asyncpg.Record, settings: ClaimSettings) -> str | None:
    if not found["member"]:
        return f"the login may not become the role {settings.role}; run `usher db install --login-role ...`"
    if found["login_privileged"] and not settings.allow_privileged_login:
        return (
            "the login is or may become a superuser or a role with BYPASSRLS, so that any statement could "
            "leave its scope; use a login without these, or set allow_privileged_login to accept it"
        )
    if not found["marked"] and not settings.allow_privileged_login:
        return "the login is no member of usher_login; run `usher db install --logins ...`"
    if not found["alone"] and not settings.shared_login:
        return (
            "several sessions may share the login, so that users could read and cancel one another's "
            "statements; run `usher db install --logins ...`, or set shared_login to accept it"
        )
    return None


async def _of_key(connection: asyncpg.Connection[Any], role: str, key: ClaimKey) -> str | None:
    try:
        await _begin(connection, key, role, "{}", 5.0, "BEGIN READ ONLY")
    except asyncpg.PostgresError as error:
        if getattr(error, "sqlstate", "") != _TAMPERED:
            raise
        return _KEY_UNKNOWN
    finally:
        await connection.execute("ROLLBACK")
    return None


async def _begin(
    connection: asyncpg.Connection[Any], key: ClaimKey, role: str, claims: str, timeout: float, begin: str
) -> None:
    """Begins a transaction as `role` with `claims`. Raises asyncpg's errors."""
    await connection.execute(begin)
    binding = await connection.fetchval(BINDING)
    milliseconds = str(max(1, round(timeout * 1000)))
    await connection.fetchrow(_ENTER, claims, key.tag(binding, role, claims), milliseconds, role)


class SignedClaimsBackend:
    """Runs each statement in a transaction that carries the scope's claims, their tag and the role."""

    def __init__(
        self, pool: Pool, settings: ClaimSettings, key: ClaimKey, pooling: Pooling = Pooling.DIRECT
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._key = key
        self._pooling = pooling

    @property
    def kind(self) -> str:
        """The name under which this backend is reported: how identity reaches Postgres."""
        return "postgres"

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        """See core.queries.Backend.run."""
        async with self._pool.lease() as connection:
            # Begun and ended by hand: the pool rolls back whatever a failed block leaves.
            await self._enter(connection, scope, statement.timeout, read_only=statement.read_only)
            started = self._pool.clock.monotonic()
            try:
                result = await self._fetch(connection, statement)
            except DRIVER_ERRORS as error:
                ran = self._pool.clock.monotonic() - started
                # Postgres starts its timer after ours; the tolerance is for clocks of unequal pace.
                raise self._translated(error, timed_out=ran >= statement.timeout * 0.99) from None
            sealed = seal(result)
            await self._commit(connection, may_have_written=not statement.read_only)
            return sealed, result

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """See core.queries.Backend.who_am_i."""
        async with self._pool.lease() as connection:
            await self._enter(connection, scope, _WHO_AM_I_SECONDS, read_only=True)
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

    async def _enter(
        self, connection: asyncpg.Connection[Any], scope: Scope, timeout: float, *, read_only: bool
    ) -> None:
        begin = head(self._pooling, read_only=read_only)
        role = self._settings.role
        try:
            await _begin(connection, self._key, role, scope.payload_json, timeout, begin)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
            # The caller had no part in this: the role is gone, or may not be taken any more.
            raise UsherError(
                Reason.DATABASE_NOT_INSTALLED,
                f"the login cannot become the role {role}; run `usher db install`",
            ) from None
        except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
            raise UsherError(
                Reason.DATABASE_NOT_INSTALLED, "usher.claims() is missing; run `usher db install`"
            ) from None
        except DRIVER_ERRORS as error:
            translated = self._translated(error)
            if translated.reason is Reason.CLAIMS_TAMPERED:
                # No SQL of the caller's has run yet.
                raise UsherError(Reason.DATABASE_NOT_INSTALLED, _KEY_UNKNOWN) from None
            raise translated from None

    async def _fetch(self, connection: asyncpg.Connection[Any], statement: Statement) -> ResultSet:
        prepared = await prepare(connection, statement.sql)
        arguments = bind(prepared.parameter_types, statement.parameters)
        # One row more than asked for tells whether there are more.
        run = await execute_limited(connection, prepared.statement, arguments, statement.max_rows + 1)
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
    """Whether a statement that the limit cut is a write, to be counted in full.

    WITH may open either; a reading one can be endless and stays cut. Only Postgres knows which it is.
    """
    if statement.verb in WRITING_VERBS:
        return True
    if statement.verb != "WITH" or statement.read_only:
        return False
    return bool(await connection.fetchval(_HAS_WRITTEN))
