"""What every room's tests may use: real PostgreSQL servers, and databases on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.embedded.binaries import DEFAULT_VERSION
from sidecar.embedded.server import EmbeddedPostgres
from tests.processes import Process, running
from tests.servers import VERSIONS, Servers


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Servers]:
    """Servers by major version, each started when a test first asks for it."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def postgres_server(postgres_servers: Servers) -> EmbeddedPostgres:
    """The server of the default version."""
    return postgres_servers[DEFAULT_VERSION]


@pytest.fixture(scope="session")
def postgres_dsn(postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address of a database that all tests share: leave nothing in it."""
    with postgres_servers.database() as dsn:
        yield dsn


@pytest.fixture
def fresh_database(postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address of an empty database for one test."""
    with postgres_servers.database() as dsn:
        yield dsn


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pg{version}")
def fresh_database_each_version(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[str]:
    """The same, once for each version of PostgreSQL that can be had here."""
    with postgres_servers.database(request.param) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def demo(postgres_servers: Servers) -> Iterator[dict[str, str]]:
    """The settings of a sidecar on a database with the demo; tests leave its rows as they are."""
    with postgres_servers.database() as dsn:
        yield postgres_servers.install_demo(dsn)


@pytest.fixture(scope="session")
def live_sidecar(demo: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`usher serve` on the demo, for every test that does not stop or change it."""
    socket = tmp_path_factory.mktemp("live") / "admin.sock"
    with running(
        "serve",
        **demo,
        grpc_admin_address=f"unix:{socket}",
        issuer="https://issuer.example",
        log_level="debug",
    ) as process:
        yield process.wait_for("ready")
