"""A database set up for Usher, pools on it, and ways to wait for what happens there."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from sidecar.core.clock import Clock, SystemClock
from sidecar.core.errors import UsherError
from sidecar.core.events import Event
from sidecar.core.issuer import Scope
from sidecar.core.queries import Backend, Statement
from sidecar.core.sql import leading_keyword
from sidecar.core.transactions import Isolation, Transaction, TransactionBackend
from sidecar.core.values import NULL, Kind, Parameter, ResultSet
from sidecar.postgres import installer
from sidecar.postgres.check_database import DatabaseCheck, check_database
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.detection import DetectedBackend
from sidecar.postgres.pool import Pool, PoolSettings
from sidecar.postgres.scoped_backend import ClaimSettings, ScopedBackend
from sidecar.postgres.session_keys import with_session_key
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.fakes import START, Recorder

LOGIN = "usher_test_login"
CANARY = "s3cret"
"""A value that no error may show."""
SHARED = ClaimSettings(shared_login=True)
"""Most tests log in as one user, for simplicity."""
PATIENCE = 20.0
"""Seconds after which a test gives up; nothing waits that long when it passes."""

MORE_TABLES = """
CREATE TABLE notes (
  id int PRIMARY KEY, parent int REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED,
  body text NOT NULL CONSTRAINT not_too_long CHECK (length(body) < 100));
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO authenticated;
CREATE TABLE hidden (secret text);
CREATE SEQUENCE pool_numbers;
GRANT USAGE ON pool_numbers TO PUBLIC;
"""


KEYS: dict[str, ClaimKey] = {}
"""The claim key of each database that was set up, by the database's name."""
UNKNOWN_KEY = ClaimKey(id="none", secret=bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database: its address for the superuser, and for a login that may run scoped statements."""

    admin: str
    login: str


async def set_up(
    admin: str, *, demo: bool = True, first: Callable[[asyncpg.Connection], Awaitable[None]] | None = None
) -> Place:
    """Installs Usher's SQL side and the demo, and makes the login; `first` may make something before."""
    connection = await installer.connect(admin)
    try:
        if first is not None:
            await first(connection)
        await make_login(connection, LOGIN)
        await installer.install(connection, LOGIN)
        await make_key(connection, admin)
        if demo:
            await connection.execute(installer.demo_script())
            await connection.execute(MORE_TABLES)
    finally:
        await connection.close()
    return Place(admin=admin, login=as_role(admin, LOGIN))


async def make_login(connection: asyncpg.Connection, name: str, attributes: str = "") -> None:
    """A login with its own name as the password; left as it is when it exists."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name):
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' {attributes}")


async def make_key(connection: asyncpg.Connection, dsn: str) -> ClaimKey:
    """A claim key of the database, for pools on it."""
    key = KEYS[database_of(dsn)] = ClaimKey.parse(await installer.add_key(connection))
    return key


def key_of(dsn: str) -> ClaimKey:
    """The claim key of a database; one that it does not know when it has none."""
    return KEYS.get(database_of(dsn), UNKNOWN_KEY)


def database_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


def as_role(dsn: str, name: str) -> str:
    """The same address for a login of `make_login`."""
    return re.sub(r"//[^@]*@", f"//{name}:{name}@", dsn)


def scope(subject: str, **claims: Any) -> Scope:
    """A scope whose claims are as old as the fake clock's start."""
    return Scope(subject=subject, payload={"sub": subject, "iat": int(START), **claims})


ALICE = scope("alice", tenant_id="acme")
CAROL = scope("carol", tenant_id="globex")


def statement(
    sql: str,
    *values: Any,
    read_only: bool = False,
    timeout: float = 30.0,
    max_rows: int = 1000,
) -> Statement:
    """A statement that passed core's checks; values that are no Parameter are sent as text."""
    return Statement(
        sql=sql,
        verb=leading_keyword(sql),
        parameters=tuple(_parameter(value) for value in values),
        read_only=read_only,
        timeout=timeout,
        max_rows=max_rows,
    )


def _parameter(value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    return NULL if value is None else Parameter(Kind.TEXT, str(value))


def rows(result: ResultSet) -> list[tuple[Any, ...]]:
    """The result by rows; its own form is by columns."""
    return list(zip(*result.data, strict=True))


class Watcher(Recorder):
    """An observer that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; it is looked at after each event."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def until(connection: asyncpg.Connection, sql: str, *arguments: Any) -> None:
    """Returns when the query gives true."""
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(sql, *arguments):
            pass


@asynccontextmanager
async def connected(dsn: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection for the time of the block."""
    connection = await asyncpg.connect(dsn, **options)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def running_pool(
    dsn: str,
    *,
    clock: Clock | None = None,
    observer: Watcher | None = None,
    settings: ClaimSettings | None = None,
    ready: bool = True,
    keyed: bool = False,
    **pool_settings: Any,
) -> AsyncIterator[Pool]:
    """A pool and its loop; entered when it is ready, or at once. `keyed`: its sessions have keys."""
    observer = observer or Watcher()
    chosen = settings or SHARED
    pool = Pool(
        PoolSettings(database_url=dsn, **pool_settings),
        # The key may be made later; only who looks for the extension needs what the other remembers.
        DatabaseCheck(chosen, CurrentKey(key_of(dsn)))
        if keyed
        else lambda connection: check_database(connection, chosen, key_of(dsn)),
        clock or SystemClock(),
        observer,
        *([functools.partial(with_session_key, database_url=dsn, role=chosen.role)] if keyed else []),
    )
    loop = asyncio.create_task(pool.run())
    try:
        if ready:
            await observer.until(lambda: pool.trouble is None)
        yield pool
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await pool.close(PATIENCE)


@asynccontextmanager
async def running_backend(dsn: str, **options: Any) -> AsyncIterator[ScopedBackend]:
    """A backend on a pool of its own: one that looks for pg_session_jwt where its sessions have keys."""
    settings = options.setdefault("settings", SHARED)
    async with running_pool(dsn, **options) as pool:
        kind = DetectedBackend if options.get("keyed") else SignedClaimsBackend
        yield kind(pool, settings, CurrentKey(key_of(dsn)))


async def query(backend: Backend, who: Scope, sql: str, *values: Any, **options: Any) -> ResultSet:
    """The result of one scoped statement."""
    _, result = await backend.run(who, statement(sql, *values, **options), lambda result: None)
    return result


async def refusal(backend: Backend, who: Scope, sql: str, *values: Any, **options: Any) -> UsherError:
    """The error of one scoped statement, which shows none of the values that the tests send."""
    with pytest.raises(UsherError) as refused:
        await query(backend, who, sql, *values, **options)
    return without_values(refused.value)


def without_values(error: UsherError) -> UsherError:
    """The error, which shows none of the values that the tests send."""
    assert CANARY not in f"{error} {error.metadata}"
    # Nor does a traceback, which would print what the error was raised from.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


async def transact(
    backend: TransactionBackend, who: Scope, *statements: Statement | str, isolation: Isolation | None = None
) -> list[ResultSet]:
    """The results of one scoped transaction; a text is a statement without parameters."""
    asked = tuple(statement(one) if isinstance(one, str) else one for one in statements)
    transaction = Transaction(statements=asked, isolation=isolation)
    _, results = await backend.run_transaction(who, transaction, lambda results: None)
    return list(results)


async def refused_transaction(
    backend: TransactionBackend, who: Scope, *statements: Statement | str, **options: Any
) -> UsherError:
    """The error of one scoped transaction; see refusal."""
    with pytest.raises(UsherError) as refused:
        await transact(backend, who, *statements, **options)
    return without_values(refused.value)


async def no_lease(pool: Pool) -> UsherError:
    """The error of a pool that lends nothing."""
    with pytest.raises(UsherError) as refused:
        async with pool.lease():
            pass
    return refused.value
