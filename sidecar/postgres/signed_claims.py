"""Backend: any Postgres, claims that no SQL can forge.

Claims travel as a transaction-local setting, which SQL may change; auth.session() believes them only with a
tag that was made for this transaction, backend and role (claim_key.py, sql/0002_signed_claims.up.sql,
docs/adr/0006-signed-claims.md). Where pg_session_jwt is installed session_jwt.py takes its place.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.claim_key import BINDING, ClaimKey, CurrentKey
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.pool import Pool, Pooling, head
from sidecar.postgres.scoped_backend import ClaimSettings, Identity, ScopedBackend, cannot_become

_ENTER: Final = """
SELECT pg_catalog.set_config('request.jwt.claims', $1, true),
       pg_catalog.set_config('usher.claim_tag', $2, true),
       pg_catalog.set_config('statement_timeout', $3, true),
       pg_catalog.set_config('role', $4, true),
       usher.claims() IS NOT NULL
"""
"""In this order: Postgres works a target list off from left to right, and the claims are believed under their
role only. Asking for them here tells a wrong key from a statement that changed its claims."""

TAMPERED: Final = "US001"
"""The SQLSTATE that usher.claims() raises."""
KEY_UNKNOWN: Final = (
    "the database does not know claim_key; compare it with `usher db key list`, or run `usher db key add`"
)


async def begin_as(
    connection: asyncpg.Connection[Any], key: ClaimKey, role: str, claims: str, timeout: float, begin: str
) -> None:
    """Begins a transaction as `role` with `claims`. Raises asyncpg's errors."""
    await connection.execute(begin)
    binding = await connection.fetchval(BINDING)
    milliseconds = str(max(1, round(timeout * 1000)))
    await connection.fetchrow(_ENTER, claims, key.tag(binding, role, claims), milliseconds, role)


async def trouble_of_key(connection: asyncpg.Connection[Any], role: str, key: ClaimKey) -> str | None:
    """Why the database does not believe a key; None when it does. Raises asyncpg's errors."""
    try:
        await begin_as(connection, key, role, "{}", 5.0, "BEGIN READ ONLY")
    except asyncpg.PostgresError as error:
        if getattr(error, "sqlstate", "") != TAMPERED:
            raise
        return KEY_UNKNOWN
    finally:
        await connection.execute("ROLLBACK")
    return None


async def try_key(pool: Pool, settings: ClaimSettings, key: ClaimKey) -> str | None:
    """As `trouble_of_key`, on a connection of the pool. Raises UsherError."""
    async with pool.lease() as connection:
        try:
            return await trouble_of_key(connection, settings.role, key)
        except DRIVER_ERRORS as error:
            raise translate(error, show_message=settings.show_database_messages) from None


class SignedClaimsBackend(ScopedBackend):
    """Runs each statement in a transaction that carries the scope's claims, their tag and the role."""

    def __init__(
        self, pool: Pool, settings: ClaimSettings, key: CurrentKey, pooling: Pooling = Pooling.DIRECT
    ) -> None:
        super().__init__(pool, settings)
        self._key = key
        self._pooling = pooling

    @property
    def kind(self) -> str:
        """See ScopedBackend."""
        return Identity.SIGNED_CLAIMS.value

    async def enter(
        self, connection: asyncpg.Connection[Any], scope: Scope, timeout: float, *, read_only: bool
    ) -> None:
        """See ScopedBackend."""
        begin = head(self._pooling, read_only=read_only)
        role = scope.role or self._settings.role
        try:
            await begin_as(connection, self._key.key, role, scope.payload_json, timeout, begin)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
            raise cannot_become(role) from None
        except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
            raise UsherError(
                Reason.DATABASE_NOT_INSTALLED, "usher.claims() is missing; run `usher db install`"
            ) from None
        except DRIVER_ERRORS as error:
            translated = self._translated(error)
            if translated.reason is Reason.CLAIMS_TAMPERED:
                # No SQL of the caller's has run yet.
                raise UsherError(Reason.DATABASE_NOT_INSTALLED, KEY_UNKNOWN) from None
            raise translated from None
