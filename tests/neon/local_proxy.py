"""The double's way into Postgres: sessions as the role itself, and whose they are at the moment.

A role of the connection string logs in as itself, as inside of Neon's compute, so there is no higher role
that SQL could return to. Sessions are kept by database and role, and shared by all end users of a role.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.neon.wire import ServerError, Session
from tests.session_jwt.extension import TestKey

SCRUB = (
    "ROLLBACK",
    "CLOSE ALL",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "SELECT pg_advisory_unlock_all()",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
)
"""What a session goes through on its way back. Plans of functions and the random seed are not in it."""


class SetUpError(Exception):
    """A session could not be made ready: no fault of the statement's."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(str(error))
        self.error = error


class Identity(Protocol):
    """How the claims of a verified token reach a session."""

    def options(self) -> str:
        """The startup parameter `options` of a new session."""
        ...

    async def begin(self, session: Session) -> None:
        """Once for each session. Raises ServerError."""
        ...

    async def enter(self, session: Session, claims: Mapping[str, Any]) -> None:
        """For each request, outside of a transaction. Raises ServerError."""
        ...

    async def close(self) -> None:
        """Ends what it has open."""
        ...


STAND_IN = """
CREATE SCHEMA IF NOT EXISTS neon_double;
CREATE TABLE neon_double.identity (pid int PRIMARY KEY, claims jsonb NOT NULL);
CREATE SCHEMA IF NOT EXISTS auth;
GRANT USAGE ON SCHEMA auth TO PUBLIC;
CREATE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT coalesce(
    (SELECT claims FROM neon_double.identity WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()),
    'null'::pg_catalog.jsonb) $$;
CREATE FUNCTION auth.user_id() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT auth.session() OPERATOR(pg_catalog.->>) 'sub' $$;
"""
"""A test affair: functions with the names of pg_session_jwt's, that no SQL of a user can deceive."""


class TableIdentity:
    """The claims stand in a table that the superuser writes, by the session's process. See STAND_IN."""

    def __init__(self, admin_dsn: str) -> None:
        self._admin_dsn = admin_dsn
        self._lock = asyncio.Lock()
        self._admin: Session | None = None
        self._pids: dict[Session, int] = {}

    def options(self) -> str:
        """See Identity.options."""
        return ""

    async def begin(self, session: Session) -> None:
        """See Identity.begin."""
        ((pid,),) = await session.simple("SELECT pg_backend_pid()")
        assert pid is not None
        self._pids[session] = int(pid)

    async def enter(self, session: Session, claims: Mapping[str, Any]) -> None:
        """See Identity.enter."""
        async with self._lock:
            if self._admin is None:
                self._admin = await connect(self._admin_dsn)
            await self._admin.query(
                "INSERT INTO neon_double.identity VALUES ($1, $2)"
                " ON CONFLICT (pid) DO UPDATE SET claims = excluded.claims",
                [str(self._pids[session]), json.dumps(claims)],
                lambda fields: None,
                lambda row: None,
            )

    async def close(self) -> None:
        """Ends the superuser's session."""
        if self._admin is not None:
            self._admin.close()


class SessionJwtIdentity:
    """What Neon does with pg_session_jwt, or what stands in for it: tokens of a key that each session has.

    The `jti` that the token came with is lost: the extension wants a number that rises.
    """

    def __init__(self) -> None:
        self._next: dict[Session, tuple[TestKey, Iterator[int]]] = {}
        self._made: list[TestKey] = []

    def options(self) -> str:
        """See Identity.options."""
        self._made.append(TestKey())
        return self._made[-1].options()["options"]

    async def begin(self, session: Session) -> None:
        """See Identity.begin."""
        self._next[session] = (self._made.pop(), itertools.count(1))
        await session.simple("SELECT auth.init()")

    async def enter(self, session: Session, claims: Mapping[str, Any]) -> None:
        """See Identity.enter."""
        key, numbers = self._next[session]
        token = key.token({**claims, "jti": next(numbers)})
        await session.simple(f"SELECT auth.jwt_session_init('{token}')")

    async def close(self) -> None:
        """There is nothing to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How the double logs in as a role: Neon's own needs no password there, Postgres' tests do."""

    host: str
    port: int
    password: str


async def connect(dsn: str) -> Session:
    """A session at a Postgres URL. Raises ServerError or OSError."""
    url = urlsplit(dsn)
    assert url.hostname
    assert url.username
    return await Session.connect(
        url.hostname, url.port or 5432, url.username, url.password or "", url.path.removeprefix("/")
    )


class LocalProxy:
    """Sessions by database and role."""

    def __init__(self, login: Login, identity: Identity, most: int = 200) -> None:
        self._login = login
        self._identity = identity
        self._idle: dict[tuple[str, str], list[Session]] = {}
        self._slots = asyncio.Semaphore(most)
        self._returning: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def session(self, database: str, role: str, claims: Mapping[str, Any]) -> AsyncIterator[Session]:
        """A session of the claims' owner, for one request. Raises SetUpError or OSError."""
        async with self._slots:
            while self._returning:  # a place is free only when its session is clean
                await asyncio.wait(self._returning)
            try:
                session = await self._take(database, role)
                try:
                    await self._identity.enter(session, claims)
                except BaseException:
                    session.close()
                    raise
            except ServerError as error:
                raise SetUpError(error) from None
            try:
                yield session
            finally:
                task = asyncio.ensure_future(self._give_back(session, database, role))
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)

    async def close(self) -> None:
        """Ends all sessions."""
        await asyncio.gather(*self._returning, return_exceptions=True)
        for sessions in self._idle.values():
            for session in sessions:
                session.close()
        self._idle.clear()

    async def _take(self, database: str, role: str) -> Session:
        idle = self._idle.setdefault((database, role), [])
        while idle:
            session = idle.pop()
            if not session.broken:
                return session
        session = await Session.connect(
            self._login.host, self._login.port, role, self._login.password, database, self._identity.options()
        )
        try:
            await self._identity.begin(session)
        except BaseException:
            session.close()
            raise
        return session

    async def _give_back(self, session: Session, database: str, role: str) -> None:
        if session.broken:
            session.close()
            return
        try:
            for command in SCRUB:
                await session.simple(command)
        except (ServerError, OSError, asyncio.IncompleteReadError):
            session.close()
            return
        self._idle.setdefault((database, role), []).append(session)
