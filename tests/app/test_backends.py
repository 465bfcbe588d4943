"""Which backend the settings give."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.app.backends import build_backend
from sidecar.config import load
from sidecar.core import keyring
from sidecar.core.clock import SystemClock
from sidecar.core.events import DatabaseStateChanged
from sidecar.core.issuer import Issuer
from sidecar.core.keys import Algorithm, generate
from sidecar.core.signer import Signer
from tests.postgres.scoped import ALICE, PATIENCE, Watcher
from tests.servers import Servers
from tests.session_jwt import extension

URL = "postgresql://usher:secret@db.example/app"
POOLED = "postgresql://usher:secret@ep-a-pooler.eu.example/app"
KEY = "k1:" + "0b" * 32


def built(observer: Watcher, **settings: str) -> Any:
    config, clock = load({}, settings, None), SystemClock()
    first, second = generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0)
    ring, _ = keyring.begin(first, second, clock.now())
    signer = Signer(ring, config.rotation_settings, config.issuer_url, clock, observer)
    issuer = Issuer(signer, config.issuer_settings, clock)
    return build_backend(config, clock, observer, lambda: issuer)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "auto"),
        ({"database_url": POOLED}, "auto"),
        ({"database_pooling": "transaction", "shared_login": "true"}, "auto"),
        ({"database_backend": "postgres"}, "postgres"),
        ({"database_backend": "pg_session_jwt", "claim_key": ""}, "pg_session_jwt"),
    ],
)
def test_the_settings_choose(settings: dict[str, str], kind: str) -> None:
    parts = built(Watcher(), **({"database_url": URL, "claim_key": KEY} | settings))
    assert parts.backend.kind == kind
    assert parts.trouble() == "not connected yet"
    assert parts.connections() == (0, 0, 0)


@pytest.mark.parametrize(
    ("extended", "settings", "kind"),
    [
        (False, {}, "postgres"),
        (False, {"database_backend": "postgres"}, "postgres"),
        (True, {}, "pg_session_jwt"),
        (True, {"database_backend": "pg_session_jwt", "claim_key": ""}, "pg_session_jwt"),
        (True, {"database_backend": "postgres", "unsigned_claims": "true"}, "postgres"),
    ],
)
def test_a_database_is_served_as_it_is(
    postgres_servers: Servers, extended: bool, settings: dict[str, str], kind: str
) -> None:
    """By the installer's own logins, each with a session of its own."""
    with extension.database(postgres_servers) as dsn:
        if extended:
            postgres_servers.run(extension.create_at(dsn))
        given = postgres_servers.install_demo(dsn)
        if extended:
            postgres_servers.execute(dsn, "GRANT USAGE ON SCHEMA auth TO authenticated")
        asyncio.run(_served(given | settings, kind))


async def test_neon_over_http_is_asked_where_the_settings_say() -> None:
    watcher = Watcher()
    parts = built(
        watcher,
        database_backend="neon-http",
        database_url="postgresql://authenticated@ep-x.neon.invalid/app",
        shared_login="true",
    )
    assert (parts.backend.kind, parts.trouble(), parts.connections()) == (
        "neon-http",
        "not asked yet",
        (0, 0, 0),
    )
    running = asyncio.create_task(parts.run())
    try:
        await watcher.until(lambda: bool(watcher.of(DatabaseStateChanged)))
        # The host of the endpoint, with apiauth in front: a name that nobody knows.
        assert parts.trouble() == "the host name of Neon's URL is not known; retry later"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await parts.close(PATIENCE)


async def _served(settings: dict[str, str], kind: str) -> None:
    watcher = Watcher()
    parts = built(watcher, **settings)
    running = asyncio.create_task(parts.run())
    try:
        await watcher.until(lambda: parts.trouble() is None)
        assert [event.reachable for event in watcher.of(DatabaseStateChanged)] == [True]
        seen = await parts.backend.who_am_i(ALICE)
        assert (seen.user_id, parts.backend.kind) == ("alice", kind)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await parts.close(PATIENCE)
