"""Each test here runs once for each kind of backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from sidecar.core.transactions import TransactionBackend
from tests.backends.kinds import KINDS, Kind, Stage
from tests.postgres.scoped import connected
from tests.servers import Servers


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def stage(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[Stage]:
    """A database for all tests of a module: leave it as it was."""
    kind = request.param
    with kind.database(postgres_servers) as dsn:
        yield Stage(kind=kind, place=asyncio.run(kind.set_up(dsn)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what a kind does otherwise, so that it is seen when it no longer does."""
    for item in items:
        kind = getattr(item, "callspec", None) and item.callspec.params.get("stage")
        if isinstance(kind, Kind):
            for name, reason in kind.differs.items():
                if name in (item.originalname, item.name.replace(f"[{kind.name}-", "[")):
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
async def backend(stage: Stage) -> AsyncIterator[TransactionBackend]:
    """The backend on one connection."""
    async with stage.open() as backend:
        yield backend


@pytest.fixture
async def admin(stage: Stage) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection."""
    async with connected(stage.place.admin) as connection:
        yield connection


@pytest.fixture
async def notes(admin: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection; what is in `notes` afterwards is removed."""
    yield admin
    await admin.execute("DELETE FROM notes")
