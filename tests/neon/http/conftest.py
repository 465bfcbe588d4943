"""A database behind the double, for the tests of a module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.neon import standing as neon
from tests.neon.standing import Standing
from tests.servers import VERSIONS, Servers


@pytest.fixture(scope="module")
def neon_database(postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address; leave the database as it was."""
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn))
        yield dsn


@pytest.fixture
def own_neon_database(postgres_servers: Servers) -> Iterator[str]:
    """The same for one test."""
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn))
        yield dsn


@pytest.fixture
def neon_database_15(postgres_servers: Servers) -> Iterator[str]:
    """The same on PostgreSQL 15, which tells less of a statement."""
    if 15 not in VERSIONS:
        pytest.skip("there is no PostgreSQL 15 here")
    with neon.database(postgres_servers, 15) as dsn:
        asyncio.run(neon.set_up(dsn))
        yield dsn


@pytest.fixture
async def there(neon_database: str) -> AsyncIterator[Standing]:
    """The double in front of it, with one session of Postgres, and the backend in front of the double."""
    async with neon.standing(neon_database) as there:
        yield there
