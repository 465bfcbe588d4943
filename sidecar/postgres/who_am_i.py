"""What Postgres sees from inside a scope."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from sidecar.core.issuer import Scope
from sidecar.core.queries import SeenIdentity

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


async def seen_identity(connection: asyncpg.Connection[Any], scope: Scope) -> SeenIdentity:
    """Asks on a connection that has become the scope's. Raises asyncpg's errors."""
    seen = await connection.fetchrow(_WHO_AM_I)
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
