"""Which backend the settings give."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.app.backends import build_backend
from sidecar.config import load
from sidecar.core.clock import SystemClock
from sidecar.core.events import DatabaseStateChanged
from tests.postgres.scoped import ALICE, PATIENCE, Watcher
from tests.servers import Servers
from tests.session_jwt import extension

URL = "postgresql://usher:secret@db.example/app"
POOLED = "postgresql://usher:secret@ep-a-pooler.eu.example/app"
KEY = "k1:" + "0b" * 32


def built(observer: Watcher, **settings: str) -> Any:
    return build_backend(load({}, settings, None), SystemClock(), observer)


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
