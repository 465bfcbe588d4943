"""`usher serve` in front of the double of Neon: its keys are fetched, its tokens checked, rows come back."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from sidecar.core.clock import SystemClock
from tests.neon import standing as neon
from tests.neon.local_proxy import LocalProxy, Login, TableIdentity
from tests.neon.plain_verifier import PlainVerifier
from tests.neon.sql_endpoint import SqlEndpoint, serving
from tests.processes import Process, get, running, usher
from tests.servers import Servers


class FetchingVerifier:
    """Fetches the key set once, when it is first asked."""

    def __init__(self) -> None:
        self.jwks_url = ""
        self._verifier: PlainVerifier | None = None

    async def verify(self, token: str, endpoint: str, role: str) -> Mapping[str, Any]:
        """See sql_endpoint.Verifier."""
        if self._verifier is None:
            document = await asyncio.to_thread(self._fetch)
            self._verifier = PlainVerifier(document, neon.ROLES, SystemClock())
        return await self._verifier.verify(token, endpoint, role)

    def _fetch(self) -> Any:
        with urllib.request.urlopen(self.jwks_url, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def double(dsn: str, verifier: FetchingVerifier) -> Iterator[str]:
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
        async with serving(SqlEndpoint(verifier, proxy)) as address:
            url.append(address)
            ready.set()
            await stop.wait()
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
    verifier = FetchingVerifier()
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn))
        with double(dsn, verifier) as url:
            settings = {
                "database_backend": "neon-http",
                "database_url": f"postgresql://authenticated@{neon.HOST}/{dsn.rpartition('/')[2]}",
                "neon_sql_url": url,
                "shared_login": "true",
            }
            with running("serve", **settings) as process:
                process.wait_for("started")
                verifier.jwks_url = process.jwks_url
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
