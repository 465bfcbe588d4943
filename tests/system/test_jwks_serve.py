"""`usher jwks serve`, the real process: a key set from the store, whatever becomes of the store."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.embedded.server import EmbeddedPostgres
from tests.processes import Process, get, running, usher
from tests.servers import Servers
from tests.system.test_keys import holds, keys, kids, sidecar, token_of, verified

LOGINS = ("--login", "usher_edge_test_keys", "--edge-login", "usher_edge_test")


@contextmanager
def edge_on(dsn: str, **more: str) -> Iterator[tuple[Process, dict[str, str], dict[str, str]]]:
    """An edge on a database that has got a key store, its settings, and those of its sidecars."""
    done = usher("keys", "install", *LOGINS, "--reset-password", "--database-url", dsn)
    assert done.returncode == 0, done.stderr
    given: dict[str, list[str]] = {}
    for name, value in re.findall(r"^export USHER_(\w+)='?([^'\n]*)'?$", done.stdout, re.MULTILINE):
        given.setdefault(name.lower(), []).append(value)
    theirs, ours = given["key_store_url"]
    assert "usher_edge_test:" in ours
    settings = {"key_store": "postgres", "key_store_url": ours} | more
    sidecars = {
        "key_store": "postgres",
        "key_store_url": theirs,
        "key_encryption_key": given["key_encryption_key"][0],
    }
    with running("jwks", "serve", **settings) as edge:
        yield edge, settings, sidecars


@pytest.fixture
def spare(postgres_servers: Servers) -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped."""
    with postgres_servers.spare() as server:
        yield server


def metrics(edge: Process) -> str:
    return get(edge.url("/metrics"))[1]


def test_an_edge_serves_the_shared_keys_and_counts_fetches(
    demo: dict[str, str], spare: EmbeddedPostgres, postgres_servers: Servers, tmp_path: Path
) -> None:
    with edge_on(spare.superuser_dsn(), verifiers="my-edge") as (edge, ours, settings):
        edge.wait_for("waiting")  # no key, no port
        assert not edge.addresses
        settings = demo | settings | {"verifiers": "my-edge"}
        with sidecar(settings, tmp_path / "a.sock") as signer:
            edge.wait_for("ready")
            assert kids(edge) == kids(signer)
            old, _ = token_of(signer)
            assert verified(edge, old)

            # A fetch that only the edge has seen is one that counts.
            request = urllib.request.Request(edge.jwks_url, headers={"User-Agent": "my-edge/1.0"})
            urllib.request.urlopen(request, timeout=10).close()
            holds(lambda: "verifier my-edge  last fetch 20" in keys(signer, "list"))

            keys(signer, "rotate", "--force")
            holds(lambda: kids(edge) == kids(signer))
            new, kid = token_of(signer)
            assert verified(edge, new)
            assert verified(edge, old)
            listed = keys(signer, "list")
            assert listed.count("\nreplica ") == 2

            published = kids(edge)
            postgres_servers.run(spare.stop())
            away = edge.wait_for_event(lambda event: event.get("event") == "key_store_state_changed")
            assert away["reachable"] is False
            assert kids(edge) == published
            assert "usher_key_store_up 0.0" in metrics(edge)
            assert "usher_jwks_bytes" in metrics(edge)
            postgres_servers.run(spare.start())
            back = edge.wait_for_event(lambda event: event.get("event") == "key_store_state_changed")
            assert back["reachable"] is True

            keys(signer, "revoke", kid)
            holds(lambda: kids(edge) == kids(signer))
            assert kid not in kids(edge)
            published = kids(edge)
            edge.kill()
        # Without any sidecar, too.
        with running("jwks", "serve", **ours) as again:
            assert kids(again.wait_for("ready")) == published
            assert json.loads(get(again.url("/readyz"))[1])["ready"]
            assert again.stop() == 0


def test_an_edge_has_no_keys_and_says_what_it_lacks(demo: dict[str, str]) -> None:
    none = usher("jwks", "serve", issuer="https://i.example")
    assert none.returncode == 2
    assert "key_store: set it to postgres" in none.stderr
    url = demo["database_url"].replace("usher_test:", "nobody:")
    away = usher("jwks", "serve", issuer="https://i.example", key_store="postgres", key_store_url=url)
    assert away.returncode == 1
    assert "key_store_url" in away.stderr
