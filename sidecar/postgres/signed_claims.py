"""Backend: any Postgres, claims that no SQL can forge.

Claims travel as a transaction-local setting, which SQL may change; auth.session() believes them only with a
tag that was made for this transaction, backend and role: claim_key.py, sql/0004_session_challenge.up.sql,
docs/adr/0006-signed-claims.md and docs/adr/0014-round-trips.md. Where pg_session_jwt is installed
session_jwt.py takes its place.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.transactions import Isolation
from sidecar.postgres.claim_key import BINDING, OFFERS_CHALLENGES, Challenge, ClaimKey, CurrentKey
from sidecar.postgres.entry import BEGUN, SERIALIZABLE, Entry, cannot_become
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.exchange import Exchange
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.sessions import Pooling, head
from sidecar.postgres.streaming import StreamingBackend
from sidecar.postgres.wire import Step, answer

_ENTER: Final = f"""
SELECT pg_catalog.set_config('request.jwt.claims', $1, true) IS NULL,
       pg_catalog.set_config('usher.claim_tag', $2, true) IS NULL,
       pg_catalog.set_config('statement_timeout', $3, true) IS NULL,
       pg_catalog.set_config('role', $4, true) IS NULL,
       usher.claims() IS NOT NULL,
       {SERIALIZABLE}
"""
"""In this order: Postgres works a target list off from left to right, and the claims are believed under their
role only. Asking for them here tells a wrong key from a statement that changed its claims, and stops what is
sent behind it. set_config() would repeat the claims; so all is answered by the same bytes each time."""
_ENTERED: Final = answer("SELECT 1", b"f", b"f", b"f", b"f", b"t", b"f")

TAMPERED: Final = "US001"
"""The SQLSTATE that usher.claims() raises."""
KEY_UNKNOWN: Final = (
    "the database does not know claim_key; compare it with `usher db key list`, or run `usher db key add`"
)


async def _binding(connection: asyncpg.Connection[Any], begin: Sequence[Step]) -> bytes:
    """Begins a transaction and returns what it is bound by. Raises asyncpg's errors.

    On the way it learns whether the session may have a number, which would spare the next one this question.
    """
    exchange = Exchange([*begin, Step(sql=f"{BINDING}, {OFFERS_CHALLENGES}")])
    await connection.relay.finish(exchange)
    binding, offers = exchange.rows[-1]
    assert binding is not None  # no part of it can be NULL
    challenge: Challenge = connection.challenge
    challenge.offered = offers == b"t"
    return bytes.fromhex(binding.removeprefix(b"\\x").decode())


def _enter(tag: str, role: str, claims: str, timeout: float) -> Step:
    milliseconds = str(max(1, round(timeout * 1000)))
    return Step(sql=_ENTER, arguments=(claims, tag, milliseconds, role), usual=_ENTERED)


async def trouble_of_key(connection: asyncpg.Connection[Any], role: str, key: ClaimKey) -> str | None:
    """Why the database does not believe a key; None when it does. Raises asyncpg's errors."""
    try:
        await connection.execute("BEGIN READ ONLY")
        tag = key.tag(await connection.fetchval(BINDING), role, "{}")
        step = _enter(tag, role, "{}", 5.0)
        await connection.fetchrow(step.sql, *step.arguments)
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


class SignedClaimsBackend(StreamingBackend):
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

    async def entry(
        self,
        connection: asyncpg.Connection[Any],
        scope: Scope,
        timeout: float,
        *,
        read_only: bool,
        isolation: Isolation | None = None,
    ) -> Entry:
        """See ScopedBackend. One round trip, and none where the session's number is known."""
        role = scope.role or self._settings.role
        claims = scope.payload_json
        begin = head(self._pooling, read_only=read_only, isolation=isolation)
        number = connection.challenge.number
        if number is not None:
            tag = self._key.key.session_tag(number, connection.get_server_pid(), role, claims)
            step = _enter(tag, role, claims, timeout)
            return _entry(role, step, begin=(Step(sql=begin, usual=BEGUN),), by_number=True)
        try:
            if self._pooling is Pooling.DIRECT:
                binding = await _binding(connection, [Step(sql=begin)])
            else:
                await connection.execute(begin)  # it is many statements
                binding = await _binding(connection, [])
        except DRIVER_ERRORS as error:
            raise self._translated(error) from None
        return _entry(role, _enter(self._key.key.tag(binding, role, claims), role, claims, timeout))


def _entry(role: str, step: Step, begin: tuple[Step, ...] = (), *, by_number: bool = False) -> Entry:
    explain = functools.partial(_explained, role)
    return Entry(role=role, begin=begin, identity=(step,), by_number=by_number, explain=explain)


def _explained(role: str, step: int, error: BaseException) -> UsherError | None:
    if isinstance(error, asyncpg.InsufficientPrivilegeError | asyncpg.InvalidParameterValueError):
        return cannot_become(role)
    if isinstance(error, asyncpg.UndefinedFunctionError | asyncpg.InvalidSchemaNameError):
        return UsherError(Reason.DATABASE_NOT_INSTALLED, "usher.claims() is missing; run `usher db install`")
    if getattr(error, "sqlstate", "") == TAMPERED:
        # No SQL of the caller's has run yet.
        return UsherError(Reason.DATABASE_NOT_INSTALLED, KEY_UNKNOWN)
    return None
