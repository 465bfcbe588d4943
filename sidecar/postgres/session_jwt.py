"""Backend: Postgres with pg_session_jwt, which believes a token that the sidecar signs for each request.

The token travels as a setting of the transaction. SQL may change or drop it, but can make no other: each
session has a key of its own (session_keys.py), a token's number must rise, and the number of this request has
been accepted before any SQL of the caller's runs. So a statement can lose its identity, never gain another.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.transactions import Isolation
from sidecar.postgres.entry import SERIALIZABLE, Entry, cannot_become
from sidecar.postgres.scoped_backend import Identity
from sidecar.postgres.session_keys import EXTENSION, SessionKey, session_key
from sidecar.postgres.sessions import Pooling, head
from sidecar.postgres.streaming import StreamingBackend
from sidecar.postgres.wire import Step

_ENTER: Final = f"""
SELECT pg_catalog.set_config('{EXTENSION}.jwt', $1, true), pg_catalog.set_config('role', $2, true)
"""
"""For the transaction. auth.jwt_session_init() would set the token for the session, until the scrub."""

_BELIEVED: Final = f"""
SELECT pg_catalog.set_config(
         'statement_timeout',
         CASE WHEN auth.session() OPERATOR(pg_catalog.->>) 'jti' OPERATOR(pg_catalog.=) $2
              THEN $1 ELSE 'of another token' END,
         true),
       {SERIALIZABLE}
"""
"""Has the token checked. Where another number is in force it fails, by a timeout that is none, and stops what
is sent behind it. A statement of its own: the schema `auth` need only be the role's to use."""

NOT_INSTALLED: Final = (
    f"{EXTENSION} is not installed; run `CREATE EXTENSION {EXTENSION}`, or set database_backend to postgres"
)

_REFUSED: Final = frozenset({"02000", "23514", "42804", "2F003", "US001"})
"""SQLSTATEs by which a token is refused; US001 is that of Usher's own functions, which know no tokens."""


def entry_by_token(
    key: SessionKey, scope: Scope, role: str, *, now: float, timeout: float, begin: str
) -> Entry:
    """What begins a transaction as `role` by a new token of the scope's, at the time `now`.

    Raises UsherError for a token that is expired.
    """
    number, token = key.token(scope, now)
    milliseconds = str(max(1, round(timeout * 1000)))
    return Entry(
        role=role,
        begin=(Step(sql=begin),),
        identity=(
            Step(sql=_ENTER, arguments=(token, role)),
            Step(sql=_BELIEVED, arguments=(milliseconds, str(number))),
        ),
        explain=functools.partial(_explained, role),
    )


def _explained(role: str, step: int, error: BaseException) -> UsherError | None:
    if step == 1 and isinstance(
        error, asyncpg.InsufficientPrivilegeError | asyncpg.InvalidParameterValueError
    ):
        return cannot_become(role)
    if step == 2 and isinstance(error, asyncpg.InvalidParameterValueError):
        return UsherError(
            Reason.DATABASE_NOT_INSTALLED,
            f"auth.session() does not tell the claims of the sidecar's token; it should be {EXTENSION}'s",
        )
    if step == 2 and (trouble := _refusal(error, role)):
        return UsherError(Reason.DATABASE_NOT_INSTALLED, trouble)
    return None


def _refusal(error: BaseException, role: str) -> str | None:
    """Why the database does not believe a token; None when something else is wrong."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"the role {role} may not use the schema auth; run `GRANT USAGE ON SCHEMA auth TO {role}`"
    if isinstance(error, asyncpg.UndefinedFunctionError | asyncpg.InvalidSchemaNameError):
        return NOT_INSTALLED
    state = getattr(error, "sqlstate", None)
    if state not in _REFUSED:
        return None
    return (
        f"{EXTENSION} refuses the sidecar's token [SQLSTATE {state}]; compare the clocks of both machines: "
        "more than a minute apart is too much"
    )


class SessionJwtBackend(StreamingBackend):
    """Runs each statement in a transaction that carries a token of its own and the role."""

    @property
    def kind(self) -> str:
        """See ScopedBackend."""
        return Identity.SESSION_JWT.value

    async def entry(
        self,
        connection: asyncpg.Connection[Any],
        scope: Scope,
        timeout: float,
        *,
        read_only: bool,
        isolation: Isolation | None = None,
    ) -> Entry:
        """See ScopedBackend. No round trip."""
        key = session_key(connection)
        if key is None or not key.believed:
            # The extension was dropped, or is not there yet; the next look at the database says so.
            raise UsherError(Reason.DATABASE_NOT_INSTALLED, NOT_INSTALLED)
        begin = head(Pooling.DIRECT, read_only=read_only, isolation=isolation)
        role = scope.role or self._settings.role
        now = self._pool.clock.now()
        return entry_by_token(key, scope, role, now=now, timeout=timeout, begin=begin)
