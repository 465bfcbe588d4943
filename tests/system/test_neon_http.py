"""`usher serve` in front of the double of Neon: its keys are fetched, its tokens checked, rows come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from sidecar.core.clock import SystemClock
from tests.neon import standing as neon
from tests.neon.fetching import over_http
from tests.neon.local_proxy import LocalProxy, Login, TableIdentity
from tests.neon.sql_endpoint import SqlEndpoint, serving
from tests.neon.verifier import Rule, Verifier
from tests.processes import Process, get, running, usher
from tests.servers import Servers


class Trusting:
    """The control plane of a project that trusts one key set, once it is told where that is."""

    def __init__(self) -> None:
        self.jwks_url = ""

    async def __call__(self, endpoint: str) -> tuple[Rule, ...]:
        if not self.jwks_url:
            raise LookupError("not registered yet")
        return (Rule(jwks_url=self.jwks_url, role_names=neon.ROLES),)


@contextmanager
def double(dsn: str, trusting: Trusting) -> Iterator[str]:
    """The URL of the double, which runs in a thread of its own."""
    url: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        server = urlsplit(dsn)
        identity = TableIdentity(dsn)
        login = Login(host=server.hostname or "", port=server.port or 5432, password=neon.PASSWORD)
        proxy = LocalProxy(login, identity)
        verifier = Verifier(over_http, trusting, SystemClock())
        async with serving(SqlEndpoint(verifier, proxy)) as address:
            url.append(address)
            ready.set()
            await stop.wait()
        await verifier.close()
        await proxy.close()
        await identity.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield url[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def sidecar(postgres_servers: Servers) -> Iterator[Process]:
    trusting = Trusting()
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn))
        with double(dsn, trusting) as url:
            settings = {
                "database_backend": "neon-http",
                "database_url": f"postgresql://authenticated@{neon.HOST}/{dsn.rpartition('/')[2]}",
                "neon_sql_url": url,
                "shared_login": "true",
            }
            with running("serve", **settings) as process:
                process.wait_for("started")
                trusting.jwks_url = process.jwks_url
                yield process.wait_for("ready")


def test_rows_come_back_by_principal_and_by_token(sidecar: Process) -> None:
    address = sidecar.grpc_address
    for who, tenant, name in (("alice", "acme", "Alice Archer"), ("carol", "globex", "Carol Cooper")):
        claims = ("--sub", who, "--claim", f"tenant_id={tenant}")
        asked = usher("query", "--address", address, *claims, "--json", "select name from users")
        assert name in asked.stdout, asked.stderr
        token = usher("token", "issue", "--address", address, *claims).stdout.strip()
        asked = usher("query", "--address", address, "--token", token, "--json", "select name from users")
        assert name in asked.stdout, asked.stderr


def test_who_it_is_and_what_is_refused(sidecar: Process) -> None:
    claims = ("--sub", "alice", "--claim", "tenant_id=acme")
    seen = usher("whoami", "--address", sidecar.grpc_address, *claims)
    assert "neon-http" in seen.stdout, seen.stderr
    refused = usher("query", "--address", sidecar.grpc_address, *claims, "select * from nowhere")
    assert (refused.returncode, "UNDEFINED_OBJECT" in refused.stderr) == (1, True)


def test_metrics_and_readiness_know_the_backend(sidecar: Process) -> None:
    assert get(sidecar.url("/readyz"))[0] == 200
    assert 'backend="neon-http"' in get(sidecar.url("/metrics"))[1]


def test_settings_that_cannot_be_served() -> None:
    done = usher("serve", database_backend="neon-http", database_url="postgresql://a@ep.neon.tech/app")
    assert (done.returncode, "needs shared_login" in done.stderr) == (2, True)
