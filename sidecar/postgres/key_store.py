"""The key store in Postgres: the tables of schema usher_keys, on one connection of a login of its own.

Everything is read in one statement, and changed in one transaction that holds the row of the ring. Private
keys are sealed before they get here. LISTEN brings news at once; where a pooler swallows it, the next look
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.key_store import FORGET_SECONDS, Beat, Fetch, Outcome, Replica, Snapshot, Swapped
from sidecar.core.keyring import KeyRing
from sidecar.core.sealing import Sealer
from sidecar.core.stored_keys import resealable, ring_of, rows_of
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble
from sidecar.postgres.pool import check_database_url

CHANNEL: Final = "usher_keys"
TIMEOUT_SECONDS: Final = 5.0
"""Of connecting and of each statement: an answer that comes later is no use to a replica that must know."""

_SETTINGS: Final = {
    "application_name": "usher-keys",
    "search_path": "pg_catalog",
    "client_min_messages": "error",
    "synchronous_commit": "on",
    "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "10s",
}

_OPEN_TO_OTHERS: Final = """
SELECT pg_catalog.has_schema_privilege('public', 'usher_keys', 'USAGE')
  OR EXISTS (
    SELECT FROM pg_catalog.pg_roles AS r
    WHERE NOT r.rolsuper
      AND r.oid <> (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'usher_keys')
      AND pg_catalog.has_schema_privilege(r.oid, 'usher_keys', 'USAGE')
      AND EXISTS (
        SELECT FROM pg_catalog.pg_roles AS u
        WHERE u.rolname IN ('usher_login', 'authenticated', 'anonymous')
          AND pg_catalog.pg_has_role(r.oid, u.oid, 'MEMBER')))
"""
"""Whether a role that runs users' SQL could read the keys: the query logins are members of these. So may be
whoever made them and this schema, which is another matter."""

_COLUMNS: Final = (
    "kid, place, alg, jwk, state, published_at, activated_at, retired_at, served_at, idle_at, revoke_at, "
    "published_in, retired_in, token_ttl"
)
_LOAD: Final = """
SELECT r.version, r.store_id::text, extract(epoch FROM clock_timestamp())::float8 AS now,
  (SELECT json_agg(k) FROM (SELECT {columns} FROM usher_keys.key) AS k) AS keys,
  (SELECT json_agg(p) FROM usher_keys.replica AS p) AS replicas,
  (SELECT json_agg(v) FROM usher_keys.verifier AS v) AS verifiers
FROM usher_keys.ring AS r
"""
_LOAD_ALL: Final = _LOAD.format(columns=_COLUMNS + ", sealed, kek")
_LOAD_PUBLIC: Final = _LOAD.format(columns=_COLUMNS)

_LOCK: Final = "SELECT version, store_id::text FROM usher_keys.ring FOR UPDATE"
_INSERT: Final = f"""
INSERT INTO usher_keys.key ({_COLUMNS}, sealed, kek)
SELECT {_COLUMNS}, sealed, kek FROM json_populate_recordset(NULL::usher_keys.key, $1::json)
"""  # noqa: S608 - our own column names

_RECORD: Final = """
WITH moment AS (SELECT extract(epoch FROM clock_timestamp())::float8 AS now),
forgotten AS (
  DELETE FROM usher_keys.replica AS p USING moment AS m
  WHERE p.id <> $1 AND p.signs_until < m.now AND p.seen_at < m.now - $7),
fetched AS (
  INSERT INTO usher_keys.verifier AS v (name, version, fetched_at)
  SELECT f.name, f.version, f.fetched_at
  FROM json_populate_recordset(NULL::usher_keys.verifier, $6::json) AS f
  ON CONFLICT (name) DO UPDATE SET
    version = greatest(v.version, excluded.version), fetched_at = greatest(v.fetched_at, excluded.fetched_at))
INSERT INTO usher_keys.replica AS p (id, version, served_since, seen_at, signs_until, token_ttl, skew)
SELECT $1, $2, m.now, m.now, $3, $4, $5 FROM moment AS m
ON CONFLICT (id) DO UPDATE SET
  served_since = CASE WHEN p.version = excluded.version THEN p.served_since ELSE excluded.served_since END,
  version = excluded.version, seen_at = excluded.seen_at, signs_until = excluded.signs_until,
  token_ttl = excluded.token_ttl, skew = excluded.skew
"""


class PostgresKeyStore:
    """A KeyStore that outlives this process."""

    kind = "postgres"
    shared = True
    lasting = True

    def __init__(self, url: str, sealer: Sealer | None, clock: Clock) -> None:
        """`sealer` None: only public halves are read, and nothing is changed. Raises SettingsError."""
        check_database_url(url, "key_store_url")
        self._url = url
        self._sealer = sealer
        self._clock = clock
        self._connection: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._read: tuple[int, str, KeyRing] | None = None
        self.resealable: list[str] = []
        """The kids that, when last read, another key-encryption key than the first had sealed."""

    @property
    def kek_id(self) -> str:
        """The id of the key that seals; empty when nothing can be sealed here."""
        return self._sealer.kek_id if self._sealer else ""

    async def load(self) -> Snapshot:
        async with self._connected() as connection:
            return await self._load(connection)

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        sealer = self._sealer
        if sealer is None:
            raise UsherError(Reason.KEY_STORE_UNAVAILABLE, "this process only reads the key store")
        async with self._connected() as connection:
            async with connection.transaction(isolation="read_committed"):
                found = await connection.fetchrow(_LOCK)
                if found is not None and found["version"] == expected:
                    version = max(expected, ring.version) + 1
                    rows = rows_of(ring, found["store_id"], sealer)
                    await connection.execute("DELETE FROM usher_keys.key")
                    await connection.execute(_INSERT, json.dumps(rows))
                    await connection.execute("UPDATE usher_keys.ring SET version = $1", version)
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(version))
            # Read again, stored or lost: what is in force is what the next replica will read.
            snapshot = await self._load(connection)
        won = found is not None and found["version"] == expected
        return Swapped(outcome=Outcome.STORED if won else Outcome.LOST, ring=snapshot.ring)

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        seen = [
            {"name": fetch.verifier, "version": fetch.version, "fetched_at": fetch.at} for fetch in fetches
        ]
        async with self._connected() as connection:
            await connection.execute(
                _RECORD,
                beat.replica,
                beat.version,
                beat.signs_until,
                beat.token_ttl,
                beat.skew,
                json.dumps(seen),
                FORGET_SECONDS,
            )

    async def leave(self, replica: str) -> None:
        async with self._connected() as connection:
            await connection.execute("DELETE FROM usher_keys.replica WHERE id = $1", replica)

    async def changed(self, timeout: float) -> None:
        await woken_or_later(self._clock, self._news, timeout)
        self._news.clear()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DRIVER_ERRORS):
                await connection.close(timeout=1.0)

    async def _load(self, connection: asyncpg.Connection[Any]) -> Snapshot:
        found = await connection.fetchrow(_LOAD_ALL if self._sealer else _LOAD_PUBLIC)
        if found is None:
            raise _not_installed()
        return Snapshot(
            ring=self._ring(found["version"], found["store_id"], found["keys"] or "[]"),
            replicas=tuple(Replica(**row) for row in json.loads(found["replicas"] or "[]")),
            fetches=tuple(
                Fetch(verifier=row["name"], version=row["version"], at=row["fetched_at"])
                for row in json.loads(found["verifiers"] or "[]")
            ),
            now=found["now"],
        )

    def _ring(self, version: int, store_id: str, text: str) -> KeyRing:
        """The ring of rows; the one that was read before when they have not changed."""
        if self._read is None or self._read[:2] != (version, text):
            rows = json.loads(text)
            self._read = version, text, ring_of(rows, version, store_id, self._sealer)
            self.resealable = resealable(rows, self._sealer) if self._sealer else []
        return self._read[2]

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """The connection, for one at a time. Raises UsherError, and lets go of a connection that failed."""
        async with self._turn:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                yield self._connection
            except BaseException as error:
                # Of a statement that was cut short nobody knows what is still on its way.
                if self._connection is not None and not isinstance(error, UsherError | SettingsError):
                    self._connection.terminate()
                    self._connection = None
                if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
                    raise _not_installed() from None
                if isinstance(error, asyncpg.UndefinedColumnError):
                    raise _another_version() from None
                if isinstance(error, asyncpg.InsufficientPrivilegeError):
                    raise UsherError(
                        Reason.KEY_STORE_UNAVAILABLE,
                        "the login in key_store_url may not use the key store; take the one that "
                        "`usher keys install` printed",
                    ) from None
                if isinstance(error, DRIVER_ERRORS):
                    text = connection_trouble(error).replace("database_url", "key_store_url")
                    raise UsherError(Reason.KEY_STORE_UNAVAILABLE, f"the key store: {text}") from None
                raise

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection = await asyncpg.connect(
            self._url,
            timeout=TIMEOUT_SECONDS,
            command_timeout=TIMEOUT_SECONDS,
            server_settings=_SETTINGS,
            # A pooler in transaction mode gives each transaction another session.
            statement_cache_size=0,
        )
        try:
            if await connection.fetchval(_OPEN_TO_OTHERS):
                raise UsherError(
                    Reason.KEY_STORE_UNAVAILABLE,
                    "the schema usher_keys can be used by a role that runs users' SQL, or by PUBLIC; revoke "
                    "that, and give the key store a login of its own (`usher keys install`)",
                )
            await connection.add_listener(CHANNEL, lambda *_: self._news.set())
        except BaseException:
            connection.terminate()
            raise
        # What happened before LISTEN is told by nobody.
        self._news.set()
        return connection


def _not_installed() -> UsherError:
    return UsherError(
        Reason.KEY_STORE_UNAVAILABLE, "the database has no key store; run `usher keys install` on it"
    )


def _another_version() -> UsherError:
    return UsherError(
        Reason.KEY_STORE_UNAVAILABLE,
        "the key store's tables are not those of this Usher; run `usher keys install`, or use a newer one",
    )
