"""What `usher doctor` asks of a database by the sidecar's own login: each question on its own.

Two sessions at most, one after the other: a running sidecar may have taken all logins but one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from sidecar.core import diagnosis
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, failed, not_looked_at, ok, trouble, warning
from sidecar.core.errors import Reason, UsherError
from sidecar.postgres.check_database import catalog_troubles, check_database
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.codecs import TypedConnection
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble
from sidecar.postgres.logins import connector
from sidecar.postgres.pool import Connect, OutdatedError, PoolSettings
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.session_keys import session_key
from sidecar.postgres.sessions import SESSION_SETTINGS, Pooling
from sidecar.postgres.signed_claims import KEY_UNKNOWN, trouble_of_key

DATABASE: Final = "database"
SAFE: Final = "database_safe"
KEY: Final = "claim_key"
ROLES: Final = "roles"
DENY_LIST: Final = "deny_list"
CLOCK: Final = "database_clock"
CHECKS: Final = (DATABASE, SAFE, KEY, ROLES, DENY_LIST, CLOCK)

# Since 16 a membership may come without the right to SET ROLE.
_ROLES: Final = """
WITH login AS (
  SELECT CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
              THEN 'SET' ELSE 'MEMBER' END AS may_become
)
SELECT asked.name, r.oid IS NOT NULL AS exists,
       coalesce(r.rolsuper OR r.rolbypassrls, false) AS privileged,
       coalesce(pg_catalog.pg_has_role(session_user, r.oid, login.may_become), false) AS member
FROM login CROSS JOIN pg_catalog.unnest($1::pg_catalog.text[]) AS asked (name)
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = asked.name
ORDER BY asked.name
"""
_PRIVILEGED_LOGIN: Final = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_roles AS r
  WHERE (r.rolsuper OR r.rolbypassrls) AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
)
"""
_NOW: Final = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is to be looked at. `roles` are all that statements may run as, the usual one among them."""

    pool: PoolSettings
    claims: ClaimSettings
    key: ClaimKey | None
    roles: Sequence[str]
    wrap_connect: Callable[[Connect], Connect]
    """What the sidecar puts around the opening of each connection."""


async def look(place: Deployment, clock: Clock) -> list[Diagnosis]:
    """Looks at everything."""
    found: list[Diagnosis] = []
    try:
        async with contextlib.AsyncExitStack() as stack:
            connection, refused = await _opened(place, stack)
            found.append(ok(DATABASE, f"PostgreSQL {connection.get_server_version().major} takes the login"))
            found += await _guarded(SAFE, _safe(connection, place, refused))
            found += await _guarded(KEY, _key(connection, place))
            found += await _guarded(ROLES, _roles(connection, place))
            found += await _guarded(CLOCK, _clock(connection, clock))
    except asyncpg.TooManyConnectionsError:
        found.append(
            warning(
                DATABASE,
                "every login has its session already, the sidecars' presumably",
                "make more logins, or look while fewer sidecars run",
            )
        )
    except DRIVER_ERRORS as error:
        if not found:
            found.append(failed(DATABASE, connection_trouble(error), "look at database_url and the network"))
    seen = {one.check for one in found}
    found += [
        not_looked_at(name, "no session could be had")
        for name in (SAFE, KEY, ROLES, CLOCK)
        if name not in seen
    ]
    found.append(await _deny_list(place, clock))
    return sorted(found, key=lambda one: CHECKS.index(one.check))


async def _opened(
    place: Deployment, stack: contextlib.AsyncExitStack
) -> tuple[asyncpg.Connection[Any], UsherError | None]:
    """A session as the sidecar opens it; where that is refused as unsafe, a plain one and the reason."""
    try:
        return await stack.enter_async_context(_session(place, place.wrap_connect)), None
    except UsherError as refused:
        return await stack.enter_async_context(_session(place, lambda connect: connect)), refused


@contextlib.asynccontextmanager
async def _session(
    place: Deployment, wrap: Callable[[Connect], Connect]
) -> AsyncIterator[asyncpg.Connection[Any]]:
    settings = place.pool
    connect: Connect = asyncpg.connect
    if settings.logins:
        connect = connector(settings.database_url, settings.logins)
    options: dict[str, Any] = {"statement_cache_size": 0} if settings.pooling is Pooling.TRANSACTION else {}
    connection = await wrap(connect)(
        settings.database_url,
        timeout=settings.connect_timeout,
        command_timeout=settings.connect_timeout,
        connection_class=TypedConnection,
        server_settings=SESSION_SETTINGS | {"application_name": "usher doctor"},
        **options,
    )
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=1.0)
        except DRIVER_ERRORS:
            connection.terminate()


async def _guarded(check: str, asked: Any) -> list[Diagnosis]:
    """What a question found; one that fails leaves the others as they are."""
    try:
        found: list[Diagnosis] = await asked
    except OutdatedError as error:
        return [warning(check, str(error), "look again")]
    except UsherError as error:
        return [trouble(check, error.message)]
    except DRIVER_ERRORS as error:
        return [failed(check, f"it could not be asked: {connection_trouble(error)}")]
    return found


async def _safe(
    connection: asyncpg.Connection[Any], place: Deployment, refused: UsherError | None
) -> list[Diagnosis]:
    if refused is not None:
        return [trouble(SAFE, refused.message)]
    if troubles := await catalog_troubles(connection, place.claims):
        return [trouble(SAFE, text) for text in troubles]
    text = await check_database(connection, place.claims, place.key)
    if text is not None and (place.key is None or text == KEY_UNKNOWN):
        return [not_looked_at(SAFE, "whether a forgery is believed: that takes a claim_key that is known")]
    if text is not None:
        return [trouble(SAFE, text)]
    return [ok(SAFE, "the claims cannot be forged, and neither login nor role is above the policies")]


async def _key(connection: asyncpg.Connection[Any], place: Deployment) -> list[Diagnosis]:
    own = session_key(connection)
    if own is not None and own.believed:
        return [ok(KEY, "not needed: pg_session_jwt takes a key of each session's own")]
    if place.key is None:
        return [failed(KEY, "claim_key is not set", "make one with `usher db key add`")]
    try:
        text = await trouble_of_key(connection, place.claims.role, place.key)
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
        return [failed(KEY, "the database has no claim keys", "run `usher db install`")]
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
        return [not_looked_at(KEY, "the role that it is for cannot be had")]
    return [trouble(KEY, text) if text else ok(KEY, "the database knows it")]


async def _roles(connection: asyncpg.Connection[Any], place: Deployment) -> list[Diagnosis]:
    found = []
    for row in await connection.fetch(_ROLES, list(place.roles)):
        name = row["name"]
        if not row["exists"]:
            found.append(
                failed(ROLES, f"the role {name} does not exist", f"CREATE ROLE {name}, or name another")
            )
            continue
        if row["privileged"]:
            found.append(
                failed(
                    ROLES, f"the role {name} is a superuser or has BYPASSRLS", "use one that policies bind"
                )
            )
        if not row["member"]:
            found.append(
                failed(ROLES, f"the login may not become the role {name}", f"GRANT {name} TO the login")
            )
    if await connection.fetchval(_PRIVILEGED_LOGIN):
        accepted = place.claims.allow_privileged_login
        seen = "the login is or may become a superuser or a role with BYPASSRLS"
        found.append(
            (warning if accepted else failed)(ROLES, seen, "use a login of `usher db install --logins`")
        )
    count = len(place.roles)
    return found or [
        ok(ROLES, f"{count} role{'s' * (count > 1)}, each to be had by the login and bound by policies")
    ]


async def _clock(connection: asyncpg.Connection[Any], clock: Clock) -> list[Diagnosis]:
    before = clock.now()
    there = await connection.fetchval(_NOW)
    return [diagnosis.clock(CLOCK, (before + clock.now()) / 2 - there, "the database's")]


async def _deny_list(place: Deployment, clock: Clock) -> Diagnosis:
    if place.key is None and place.claims.identity is not Identity.SESSION_JWT:
        return not_looked_at(DENY_LIST, "claim_key is not set")
    if place.key is None:
        return warning(
            DENY_LIST,
            "without claim_key each sidecar has a list of its own, which a restart empties",
            "run `usher db install`, and set claim_key",
        )
    store = PostgresRevocations(place.pool, CurrentKey(place.key), clock)
    try:
        entries = len(await store.read())
        told = store.told
    except UsherError as error:
        if error.reason is Reason.DATABASE_RESOURCES:
            return not_looked_at(DENY_LIST, "no session is free for it", "make a login more than are used")
        return trouble(DENY_LIST, error.message)
    finally:
        await store.close()
    heard = "changes are heard at once" if told else "changes are seen when it is asked, once a second"
    return ok(DENY_LIST, f"it can be read ({entries} entries), and {heard}")
