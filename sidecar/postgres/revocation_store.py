"""The deny list in usher.revocation, which all sidecars of a database share (sql/0003_revocations.up.sql).

One connection of its own: it hears of changes by NOTIFY, and neither a pool that is busy nor a user's SQL
comes between an operator and a revocation. Each request carries a tag by the claim key for one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.deny_list import By, Revocation
from sidecar.core.errors import Reason, UsherError
from sidecar.core.revocations import Addition
from sidecar.postgres.claim_key import BINDING, CurrentKey
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble, translate
from sidecar.postgres.logins import connector
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.sessions import SESSION_SETTINGS, Pooling, head
from sidecar.postgres.signed_claims import KEY_UNKNOWN, TAMPERED

CHANNEL: Final = "usher_revocations"
POLL_SECONDS: Final = 5.0
"""Between two looks while notifications are heard: a connection may be dead without a word."""
DEAF_POLL_SECONDS: Final = 1.0
"""The same where none are: behind PgBouncer in transaction mode, and on a read replica."""
LONGEST_SECONDS: Final = 5.0
"""That a request may take."""

_CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the end of a session that comes as a request begins
    asyncpg.OperatorInterventionError,
    OSError,
)

_ASK: Final = "SELECT kind, value, issued_until, revoked_at, expires_at FROM usher.revocations($1, $2)"


class PostgresRevocations:
    """A RevocationStore. Connects when it is first asked, and again whenever the connection was lost."""

    shared = True

    def __init__(self, settings: PoolSettings, key: CurrentKey, clock: Clock) -> None:
        self._settings = settings
        self._key = key
        self._clock = clock
        self._connection: asyncpg.Connection[Any] | None = None
        self._told = False
        self._woken = asyncio.Event()

    @property
    def told(self) -> bool:
        """Whether notifications are heard now."""
        return self._told and self._connection is not None and not self._connection.is_closed()

    async def read(self) -> Sequence[Revocation]:
        """The list now. Raises UsherError: DATABASE_UNAVAILABLE or DATABASE_NOT_INSTALLED."""
        return await self._ask({"do": "list"}, read_only=True)

    async def add(self, addition: Addition) -> Sequence[Revocation]:
        """Adds an entry. Raises as `read`."""
        request = {"do": "revoke", "kind": addition.by.value, "value": addition.value}
        if addition.issued_until is not None:
            request["issued_until"] = str(addition.issued_until)
        return await self._ask(request | {"seconds": str(addition.seconds)})

    async def remove(self, by: By, value: str) -> Sequence[Revocation]:
        """Removes an entry, if it is there. Raises as `read`."""
        return await self._ask({"do": "lift", "kind": by.value, "value": value})

    async def changed(self) -> None:
        """Returns at a notification, when the connection is lost, or when it is time to look again."""
        await woken_or_later(self._clock, self._woken, POLL_SECONDS if self.told else DEAF_POLL_SECONDS)

    async def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DRIVER_ERRORS, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.close()
            if not connection.is_closed():
                connection.terminate()

    async def _ask(self, request: dict[str, str], *, read_only: bool = False) -> list[Revocation]:
        # Before the answer: what changes while it is on its way is asked for again.
        self._woken.clear()
        text = json.dumps(request)
        kept = self._connection is not None
        try:
            try:
                rows = await self._rows(text, read_only)
            except _CONNECTION_ERRORS:
                if not kept:
                    raise
                # It had died since. Whatever was done is done again: no request does more the second time.
                rows = await self._rows(text, read_only)
        except DRIVER_ERRORS as error:
            raise _translated(error) from None
        return [
            Revocation(
                by=By(row["kind"]),
                value=row["value"],
                issued_until=row["issued_until"],
                revoked_at=row["revoked_at"],
                expires_at=row["expires_at"],
            )
            for row in rows
        ]

    async def _rows(self, request: str, read_only: bool) -> list[asyncpg.Record]:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                connection = await self._connected()
                await connection.execute(head(self._settings.pooling, read_only=read_only))
                tag = self._key.key.list_tag(await connection.fetchval(BINDING), request)
                rows: list[asyncpg.Record] = await connection.fetch(_ASK, request, tag)
                await connection.execute("COMMIT")
        except BaseException:
            # Whatever state it is in: the next request has a new one.
            self._discard()
            raise
        return rows

    async def _connected(self) -> asyncpg.Connection[Any]:
        connection = self._connection
        if connection is not None and not connection.is_closed():
            return connection
        options: dict[str, Any] = {"timeout": self._settings.connect_timeout}
        if self._settings.pooling is Pooling.TRANSACTION:
            options["statement_cache_size"] = 0
        else:
            options["server_settings"] = SESSION_SETTINGS | {"application_name": "usher revocations"}
        connect = asyncpg.connect
        if self._settings.logins:
            connect = connector(self._settings.database_url, self._settings.logins)
        connection = await connect(self._settings.database_url, **options)
        self._connection = connection
        self._told = await self._listening(connection)
        return connection

    async def _listening(self, connection: asyncpg.Connection[Any]) -> bool:
        if self._settings.pooling is Pooling.TRANSACTION:
            return False  # the next transaction is another session's
        try:
            await connection.add_listener(CHANNEL, self._heard)
        except asyncpg.PostgresError:
            return False  # a read replica
        connection.add_termination_listener(self._lost)
        return True

    def _heard(self, connection: Any, process: int, channel: str, payload: object) -> None:
        """Somebody says that the list has changed; what else they say is not looked at."""
        if process != connection.get_server_pid():
            self._woken.set()

    def _lost(self, connection: Any) -> None:
        self._woken.set()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _translated(error: BaseException) -> UsherError:
    """Without a word of the request's."""
    state = getattr(error, "sqlstate", "")
    if state == TAMPERED:
        return UsherError(Reason.DATABASE_NOT_INSTALLED, KEY_UNKNOWN)
    if isinstance(error, asyncpg.UndefinedFunctionError | asyncpg.InvalidSchemaNameError):
        return UsherError(
            Reason.DATABASE_NOT_INSTALLED, "usher.revocations() is missing; run `usher db install`"
        )
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return UsherError(
            Reason.READ_ONLY, "the database is a read replica; revoke at a sidecar of the primary"
        )
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return UsherError(
            Reason.DATABASE_RESOURCES,
            "no session is free for the deny list; give the database one login more than pool_max_size",
        )
    if isinstance(error, asyncpg.PostgresError):
        translated = translate(error, show_message=False)
        if translated.reason is not Reason.DATABASE_UNAVAILABLE:
            return UsherError(Reason.DATABASE_ERROR, translated.message, translated.metadata)
    return UsherError(Reason.DATABASE_UNAVAILABLE, connection_trouble(error))
