"""The private paths: what Prometheus and an orchestrator read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from sidecar.core.events import RpcFault
from sidecar.core.health import Check
from sidecar.web.probes import Probes
from tests.fakes import Recorder
from tests.web.raw_client import RawClient, connected, listening

KEYS_OK = Check(name="keys", ok=True, detail="a key signs")
DATABASE_OK = Check(name="database", ok=True, detail="the database is ready")
DATABASE_DOWN = Check(name="database", ok=False, detail="the database refuses the connection")


class Parts:
    """Metrics and checks with values that a test sets."""

    def __init__(self) -> None:
        self.checks: Sequence[Check] = (KEYS_OK, DATABASE_OK)
        self.accepted: list[str | None] = []

    async def render(self, accept: str | None) -> tuple[bytes, str]:
        self.accepted.append(accept)
        return b"usher_up 1\n", "text/plain; version=0.0.4; charset=utf-8"

    def read_checks(self) -> Sequence[Check]:
        return self.checks


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[RawClient]:
    probes = Probes(parts.render, parts.read_checks)
    async with listening(probes.answer) as address, connected(address) as client:
        yield client


async def test_metrics_by_accept_header(client: RawClient, parts: Parts) -> None:
    reply = await client.ask("GET", "/metrics?x", Accept="application/openmetrics-text")
    await client.ask("GET", "/metrics")
    assert (reply.status, reply.body) == (200, b"usher_up 1\n")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers
    assert parts.accepted == ["application/openmetrics-text", None]


async def test_live_even_when_not_ready(client: RawClient, parts: Parts) -> None:
    parts.checks = (DATABASE_DOWN,)
    reply = await client.ask("GET", "/livez")
    assert (reply.status, json.loads(reply.body)) == (200, {"live": True})


async def test_ready_when_every_check_is(client: RawClient, parts: Parts) -> None:
    reply = await client.ask("GET", "/readyz")
    assert (reply.status, json.loads(reply.body)["ready"]) == (200, True)
    parts.checks = (KEYS_OK, DATABASE_DOWN)
    reply = await client.ask("GET", "/readyz")
    assert reply.status == 503
    assert json.loads(reply.body) == {
        "ready": False,
        "checks": [
            {"name": "keys", "ok": True, "detail": "a key signs"},
            {"name": "database", "ok": False, "detail": "the database refuses the connection"},
        ],
    }
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
async def test_get_and_head_only(client: RawClient, path: str) -> None:
    assert (await client.ask("HEAD", path)).status == 200
    reply = await client.ask("POST", path)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/.well-known/jwks.json", "/debug"])
async def test_nothing_else_is_served(client: RawClient, path: str) -> None:
    assert (await client.ask("GET", path)).status == 404


async def test_a_fault_is_a_bare_500_and_an_event() -> None:
    def broken(accept: str | None) -> tuple[bytes, str]:
        raise KeyError("secret value")

    recorder = Recorder()
    probes = Probes(broken, lambda: ())
    async with listening(probes.answer, recorder) as address:
        async with connected(address) as client:
            reply = await client.ask("GET", "/metrics", Accept="text/html")
            assert (reply.status, reply.body) == (500, b'{"error":"internal server error"}\n')
            assert reply.headers["server"] == "usher"
            assert await client.rest() == b""
        async with connected(address) as client:
            assert (await client.ask("GET", "/livez")).status == 200
    [fault] = recorder.of(RpcFault)
    assert (fault.method, type(fault.error)) == ("http", KeyError)
