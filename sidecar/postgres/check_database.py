"""Whether scoped statements can run safely on a database with a login: asked at start and again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import asyncpg

from sidecar.core.errors import UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.errors import DRIVER_ERRORS
from sidecar.postgres.pool import OutdatedError
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.session_jwt import NOT_INSTALLED, entry_by_token
from sidecar.postgres.session_keys import EXTENSION, SessionKey, extension_installed, session_key
from sidecar.postgres.signed_claims import TAMPERED, trouble_of_key

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
  EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_session_jwt') AS extension,
  EXISTS (
    SELECT FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
    WHERE g.rolname = 'usher_login' AND l.rolname = session_user AND NOT m.admin_option
  ) AS marked,
  (SELECT rolconnlimit = 1 FROM pg_catalog.pg_roles WHERE rolname = session_user) AS alone,
  (SELECT pg_catalog.format('%I.%I', s.nspname, c.relname)
   FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
   WHERE c.relrowsecurity AND NOT c.relforcerowsecurity
     AND pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER')
   LIMIT 1) AS owned_by_role,
  (SELECT pg_catalog.format('%I.%I', s.nspname, c.relname)
   FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
   WHERE c.relrowsecurity AND NOT c.relforcerowsecurity
     AND pg_catalog.pg_has_role(session_user, c.relowner, 'MEMBER')
   LIMIT 1) AS owned_by_login,
  (SELECT s.nspname FROM pg_catalog.pg_namespace AS s
   WHERE s.nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(r.oid, s.oid, 'CREATE')
   LIMIT 1) AS open_schema,
  -- By the policy statements run as other roles, too, and free SQL may take each of them.
  (SELECT ARRAY[o.rolname, s.nspname]::pg_catalog.text[]
   FROM pg_catalog.pg_roles AS o
   JOIN pg_catalog.pg_namespace AS s ON pg_catalog.has_schema_privilege(o.oid, s.oid, 'CREATE')
   WHERE s.nspname !~ '^pg_' AND pg_catalog.pg_has_role(session_user, o.oid, login.may_become)
   ORDER BY o.rolname OPERATOR(pg_catalog.=) session_user  -- which may inherit it
   LIMIT 1) AS open_to_login,
  coalesce(pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE'), false) AS usable
FROM login
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = $1
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'auth'
"""

_PLAIN_CLAIMS_BELIEVED: Final = (
    f"{EXTENSION} is installed, and without a key it believes claims that any SQL can forge; set "
    "database_backend to auto, drop the extension, or set unsigned_claims to accept it"
)

_FORGED_SUBJECT: Final = "00000000-0000-4000-8000-000000000000"
_TOLD: Final = "SELECT auth.user_id()"

_FORGE_BY: Final = "SELECT pg_catalog.set_config($1, $2, true), pg_catalog.set_config('role', $3, true)"
_STRANGE_REFUSED: Final = ("23514", "42804")

_FORGE: Final = """
SELECT pg_catalog.set_config('request.jwt.claims', '{}', true), pg_catalog.set_config('role', $1, true)
"""


class DatabaseCheck:
    """check_database for a pool: it remembers whether pg_session_jwt was there the last time.

    Any session may be the one that is asked: where it is a new one, others may still be from before.
    """

    def __init__(self, settings: ClaimSettings, key: CurrentKey | None) -> None:
        self._settings = settings
        self._key = key
        self._installed: bool | None = None

    async def __call__(self, connection: asyncpg.Connection[Any]) -> str | None:
        """Raises as check_database does."""
        before, self._installed = self._installed, await extension_installed(connection)
        if before not in (None, self._installed):
            raise _outdated(self._installed)
        return await check_database(connection, self._settings, self._key.key if self._key else None)


async def check_database(
    connection: asyncpg.Connection[Any], settings: ClaimSettings, key: ClaimKey | None
) -> str | None:
    """Why scoped statements cannot run safely with this login on this database; None when they can.

    `key` is not needed where identity goes by tokens. Raises asyncpg's errors, and OutdatedError when the
    extension came or went since the session was opened.
    """
    trouble = next(iter(await catalog_troubles(connection, settings)), None)
    if trouble is not None:
        return trouble
    own = session_key(connection)
    if own is not None and own.believed:
        return await _of_token(connection, settings.role, own)
    return await _of_signed_claims(connection, settings, key)


async def catalog_troubles(connection: asyncpg.Connection[Any], settings: ClaimSettings) -> list[str]:
    """All that the catalog tells against this login on this database, the worst first.

    What can only be found by trying is left to check_database. Raises as that does.
    """
    # By hand: asyncpg's own asks asyncpg, which may not have seen the end of the last one (Relay.at_rest).
    await connection.execute("BEGIN")
    try:
        found = await connection.fetchrow(_CHECK, settings.role)
    finally:
        await connection.execute("ROLLBACK")
    assert found is not None  # its first table has one row
    own = session_key(connection)
    by_token = own is not None and own.believed
    return [
        *_of_extension(found, settings, own),
        *_of_database(found, settings, by_token),
        *_of_login(found, settings, by_token),
    ]


def _outdated(installed: bool) -> OutdatedError:
    return OutdatedError(f"{EXTENSION} was {'installed' if installed else 'dropped'} meanwhile")


def _of_extension(found: asyncpg.Record, settings: ClaimSettings, own: SessionKey | None) -> Iterator[str]:
    installed = found["extension"]
    if own is None:
        if installed and settings.identity is Identity.SIGNED_CLAIMS:
            if not settings.unsigned_claims:
                yield _PLAIN_CLAIMS_BELIEVED
        elif installed:
            yield (
                f"{EXTENSION} is installed, and needs a key in each session, which a pooler in transaction "
                "mode would hand to others or drop; use database_pooling=direct, and a host without -pooler"
            )
    elif installed != own.believed:
        raise _outdated(installed)
    if not installed and settings.identity is Identity.SESSION_JWT:
        yield NOT_INSTALLED


def _of_database(found: asyncpg.Record, settings: ClaimSettings, by_token: bool) -> Iterator[str]:
    role = settings.role
    if not found["installed"]:
        yield "auth.session() and auth.user_id() are missing; run `usher db install`"
    if not found["signed"] and not by_token:
        yield "usher.claims() is missing, so that any SQL could forge claims; run `usher db install`"
    if not found["role_exists"]:
        yield f"the role {role} does not exist; run `usher db install`, or name another database_role"
    if found["role_privileged"]:
        yield f"the role {role} is a superuser or has BYPASSRLS, so that no policy applies to it"
    if found["owned_by_role"]:
        yield (
            f"the role {role} owns the table {found['owned_by_role']}, so that no policy applies to it; "
            "give the table another owner, or ALTER TABLE ... FORCE ROW LEVEL SECURITY"
        )
    if found["open_schema"]:
        schema = found["open_schema"]
        yield (
            f"the role {role} may create tables in the schema {schema}, by which one user's rows could reach "
            f"another; run `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}`"
        )
    if found["role_exists"] and found["installed"] and not found["usable"]:
        yield f"the role {role} may not use the schema auth; run `GRANT USAGE ON SCHEMA auth TO {role}`"


def _of_login(found: asyncpg.Record, settings: ClaimSettings, by_token: bool) -> Iterator[str]:
    if found["role_exists"] and not found["member"]:
        yield f"the login may not become the role {settings.role}; run `usher db install --login-role ...`"
    if found["login_privileged"] and not settings.allow_privileged_login:
        yield (
            "the login is or may become a superuser or a role with BYPASSRLS, so that any statement could "
            "leave its scope; use a login without these, or set allow_privileged_login to accept it"
        )
    if found["owned_by_login"] and not settings.allow_privileged_login:
        yield (
            f"the login owns the table {found['owned_by_login']}, so that SQL which returns to the login "
            "sees all of it; use a login that owns nothing"
        )
    if found["open_to_login"] and not settings.allow_privileged_login:
        role, schema = found["open_to_login"]
        yield (
            f"a statement may become the role {role}, which may create tables in the schema {schema}, by "
            f"which one user's rows could reach another; run `REVOKE CREATE ON SCHEMA {schema} FROM {role}`"
        )
    if not found["marked"] and not by_token and not settings.allow_privileged_login:
        yield "the login is no member of usher_login; run `usher db install --logins ...`"
    if not found["alone"] and not settings.shared_login:
        yield (
            "several sessions may share the login, so that users could read and cancel one another's "
            "statements; run `usher db install --logins ...`, or set shared_login to accept it"
        )


async def _of_signed_claims(
    connection: asyncpg.Connection[Any], settings: ClaimSettings, key: ClaimKey | None
) -> str | None:
    if key is None:
        return f"claim_key is not set, which a database without {EXTENSION} needs; run `usher db key add`"
    trouble = await trouble_of_key(connection, settings.role, key)
    if trouble is None and not settings.unsigned_claims:
        trouble = await _of_forgery(connection, settings.role)
    return trouble


async def _of_forgery(connection: asyncpg.Connection[Any], role: str) -> str | None:
    """Tries a forgery: whoever may replace auth.session() can make it believe anything again."""
    await connection.execute("BEGIN READ ONLY")
    try:
        await connection.fetchrow(_FORGE, role)
        await connection.fetchrow("SELECT auth.session()")
    except asyncpg.PostgresError as error:
        if getattr(error, "sqlstate", "") != TAMPERED:
            raise
        return None
    finally:
        await connection.execute("ROLLBACK")
    return "auth.session() believes forged claims; run the SQL of `usher db install --print` to restore it"


async def _of_token(connection: asyncpg.Connection[Any], role: str, own: SessionKey) -> str | None:
    """Tries both: a true token must be believed, plain claims and the token of a stranger must not."""
    scope = Scope(subject=_FORGED_SUBJECT, payload={"sub": _FORGED_SUBJECT})
    begin = "BEGIN READ ONLY"
    try:
        entry = entry_by_token(own, scope, role, now=0, timeout=5.0, begin=begin)
        for number, step in enumerate(entry.steps):
            try:
                await connection.fetchrow(step.sql, *step.arguments)
            except DRIVER_ERRORS as error:
                if trouble := entry.explain(number, error):
                    return trouble.message
                raise
        if await connection.fetchval(_TOLD) != _FORGED_SUBJECT:
            return (
                f"auth.user_id() does not tell the subject of the sidecar's token; it should be {EXTENSION}'s"
            )
    except UsherError as error:
        return error.message
    finally:
        await connection.execute("ROLLBACK")
    _, strange = SessionKey().token(scope, now=0)
    for setting, forged in (("request.jwt.claims", scope.payload_json), (f"{EXTENSION}.jwt", strange)):
        await connection.execute(begin)
        try:
            await connection.fetchrow(_FORGE_BY, setting, forged, role)
            if await connection.fetchval(_TOLD) is not None:
                return f"auth.user_id() believes forged claims; install {EXTENSION} anew"
        except asyncpg.PostgresError as error:
            if getattr(error, "sqlstate", "") not in _STRANGE_REFUSED:
                raise
        finally:
            await connection.execute("ROLLBACK")
    return None
