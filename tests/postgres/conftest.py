"""Connections, pools and databases of a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from sidecar.core.values import Parameter
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.codecs import Prepared, TypedConnection, prepare
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.values import columnar
from tests.postgres.scoped import SHARED, Place, connected, key_of, running_pool, set_up
from tests.servers import Servers
from tests.session_jwt import extension

# What the text forms in these tests depend on; the pool sets the same.
SETTINGS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}


class Database:
    """A connection with a loop of its own, for tests that are no coroutines (Hypothesis)."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self.connection = self._runner.run(
            asyncpg.connect(dsn, connection_class=TypedConnection, server_settings=SETTINGS)
        )
        self.major_version: int = self.connection.get_server_version().major

    def close(self) -> None:
        self._runner.run(self.connection.close())
        self._runner.close()

    def execute(self, script: str) -> None:
        self._runner.run(self.connection.execute(script))

    def prepare(self, sql: str) -> Prepared:
        return self._runner.run(prepare(self.connection, sql))

    def run(self, sql: str, *parameters: Parameter) -> tuple[Prepared, tuple[Any, ...]]:
        """The prepared statement, and the data as columns."""
        prepared = self.prepare(sql)
        records = self._runner.run(prepared.statement.fetch(*bind(prepared.parameter_types, parameters)))
        return prepared, columnar(prepared, records)

    def value(self, sql: str, *parameters: Parameter) -> Any:
        """The first column of the first row."""
        return self.run(sql, *parameters)[1][0][0]


@pytest.fixture(scope="module")
def database(postgres_dsn: str) -> Iterator[Database]:
    database = Database(postgres_dsn)
    yield database
    database.close()


@pytest.fixture(scope="module")
def place(postgres_servers: Servers) -> Iterator[Place]:
    """A database with Usher's SQL side and the demo, for all tests of a module: leave it as it was."""
    with postgres_servers.database() as dsn:
        yield asyncio.run(set_up(dsn))


@pytest.fixture
def own_place(fresh_database: str) -> Place:
    """The same for one test."""
    return asyncio.run(set_up(fresh_database))


@pytest.fixture
def extensible(postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address of an empty database, for one test, in which pg_session_jwt can be made."""
    with extension.database(postgres_servers) as dsn:
        yield dsn


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    """A pool with one connection, so that whatever is left behind meets the next user."""
    async with running_pool(place.login, max_size=1) as pool:
        yield pool


@pytest.fixture
async def backend(pool: Pool, place: Place) -> SignedClaimsBackend:
    """The backend on that one connection."""
    return SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))


@pytest.fixture
async def admin(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection to `place`."""
    async with connected(place.admin) as connection:
        yield connection
