"""Real sidecars on one key store: restarts, replicas, a store that is away, a verifier that is waited for."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from sidecar.core.sealing import new_key
from tests.processes import Process, get, running, usher
from tests.servers import Servers
from tests.system.clients import connected

PATIENCE = 30.0
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'usher_test_keys'"


def holds(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kids(process: Process) -> set[str]:
    return {key["kid"] for key in json.loads(get(process.jwks_url)[1])["keys"]}


def keys(process: Process, *arguments: str) -> str:
    done = usher("keys", *arguments, "--address", process.admin_grpc_address)
    assert done.returncode == 0, done.stderr
    return done.stdout


def token_of(process: Process) -> tuple[str, str]:
    """A token, and the key that signed it."""
    with connected(process.grpc_address) as client:
        token = client.issue("alice", {"tenant_id": "acme"})
    return token, str(jwt.get_unverified_header(token)["kid"])


def verified(process: Process, token: str) -> bool:
    """By the set that this process serves, and by nothing else of it."""
    client = jwt.PyJWKClient(process.jwks_url)
    key = client.get_signing_key_from_jwt(token)
    return bool(jwt.decode(token, key.key, algorithms=["ES256"], options={"verify_aud": False}))


@pytest.fixture(scope="module")
def store(postgres_servers: Servers) -> Iterator[tuple[str, dict[str, str]]]:
    """The superuser's address, and the settings of sidecars on one key store."""
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        done = usher(
            "keys", "install", "--login", "usher_test_keys", "--reset-password", "--database-url", dsn
        )
        assert done.returncode == 0, done.stderr
        given = re.findall(r"^export USHER_(\w+)='?([^'\n]*)'?$", done.stdout, re.MULTILINE)
        yield dsn, settings | {name.lower(): value for name, value in given}


@contextmanager
def sidecar(settings: dict[str, str], socket: Path, **more: str) -> Iterator[Process]:
    more = {"grpc_admin_address": f"unix:{socket}", "pool_max_size": "4"} | more
    with running("serve", **(settings | more)) as process:
        yield process.wait_for("ready")


def test_a_restart_goes_on_with_the_same_keys(store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    with sidecar(store[1], tmp_path / "a.sock") as first:
        token, kid = token_of(first)
        published = kids(first)
        first.kill()
    with sidecar(store[1], tmp_path / "b.sock") as again:
        assert kids(again) == published
        assert token_of(again)[1] == kid
        assert verified(again, token)
        with connected(again.grpc_address) as client:
            assert client.issue("bob", {})
        text = get(again.url("/metrics"))[1]
        assert 'usher_key_store_info{kind="postgres"} 1.0' in text
        assert "usher_key_store_gap_seconds 0.0" in text


def test_replicas_share_rotations_and_revocations(
    store: tuple[str, dict[str, str]], postgres_servers: Servers, tmp_path: Path
) -> None:
    """The second has its key-encryption key from a program."""
    # A replica that was killed could confirm nothing, and would be named for as long as it is waited for.
    postgres_servers.execute(store[0], "DELETE FROM usher_keys.replica")
    kek = store[1]["key_encryption_key"]
    program = tmp_path / "kms.py"
    program.write_text(f"print({kek!r})\n")
    by_program = {name: value for name, value in store[1].items() if name != "key_encryption_key"} | {
        "key_encryption_key_command": f"{sys.executable} {program}"
    }
    with sidecar(store[1], tmp_path / "a.sock") as one, sidecar(by_program, tmp_path / "b.sock") as two:
        assert kids(one) == kids(two)
        old, old_kid = token_of(two)
        keys(one, "rotate", "--force")
        new, new_kid = token_of(one)
        assert new_kid != old_kid
        holds(lambda: token_of(two)[1] == new_kid)
        holds(lambda: kids(one) == kids(two))
        assert verified(two, new)
        assert verified(one, old)
        done = keys(two, "revoke", old_kid)
        assert "has not confirmed" not in done
        for there in (one, two):
            holds(lambda there=there: old_kid not in kids(there))
        listing = keys(one, "list")
        assert listing.count("\nreplica ") == 2
        assert kek not in "\n".join(one.lines + two.lines)


def test_signing_goes_on_while_the_store_is_away(
    store: tuple[str, dict[str, str]], postgres_servers: Servers, tmp_path: Path
) -> None:
    """Its login is locked and its sessions ended, as if the database were down; that of queries is not."""
    dsn, settings = store
    with sidecar(settings, tmp_path / "a.sock") as process:
        published = kids(process)
        postgres_servers.execute(dsn, f"ALTER ROLE usher_test_keys NOLOGIN; {END_SESSIONS}")
        try:
            lost = process.wait_for_event(lambda event: event.get("event") == "key_store_state_changed")
            assert lost["reachable"] is False
            assert verified(process, token_of(process)[0])
            assert kids(process) == published
            assert "usher_key_store_up 0.0" in get(process.url("/metrics"))[1]
            away = usher(
                "serve", **(settings | {"http_address": "127.0.0.1:0", "issuer": "https://i.example"})
            )
            assert away.returncode == 1
            assert "key store" in away.stderr
        finally:
            postgres_servers.execute(dsn, "ALTER ROLE usher_test_keys LOGIN")
        back = process.wait_for_event(lambda event: event.get("event") == "key_store_state_changed")
        assert back["reachable"] is True


def test_the_wrong_key_encryption_key_ends_the_start(store: tuple[str, dict[str, str]]) -> None:
    wrong = new_key()
    settings = store[1] | {"key_encryption_key": wrong, "issuer": "https://i.example"}
    done = usher("serve", **(settings | {"http_address": "127.0.0.1:0"}))
    assert done.returncode == 2
    assert "key_encryption_key" in done.stderr
    assert wrong not in done.stderr + done.stdout


def test_a_named_verifier_is_waited_for_and_seen(
    store: tuple[str, dict[str, str]], postgres_servers: Servers, tmp_path: Path
) -> None:
    """On a store of its own, with times for people who wait."""
    timing = {
        "verifiers": "my-edge",
        "rotation_period": "6s",
        "rotation_lead_time": "4s",
        "verifier_wait": "5s",
        "max_token_ttl": "2s",
        "token_ttl": "2s",
        "unsafe_rotation_timing": "true",
    }
    memory = {name: value for name, value in store[1].items() if not name.startswith("key_")}
    with sidecar(memory, tmp_path / "a.sock", **timing) as process:
        held = process.wait_for_event(lambda event: event.get("event") == "key_held_back")
        assert held["verifiers"] == "my-edge"
        assert "waits for my-edge" in keys(process, "list")
        request = urllib.request.Request(process.jwks_url, headers={"User-Agent": "my-edge/1.0"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert held["kid"] in answer.read().decode()
        holds(lambda: "verifier my-edge  last fetch 20" in keys(process, "list"))
        step = process.wait_for_event(lambda event: event.get("step") == "activate")
        assert step["kid"] == held["kid"]
        # The next time it stays away, and after the wait the key signs without it: never in silence.
        unseen = process.wait_for_event(lambda event: event.get("event") == "key_activated_unseen")
        assert unseen["verifiers"] == "my-edge"
        text = get(process.url("/metrics"))[1]
        assert "usher_key_activated_unseen_total 1.0" in text
        assert 'usher_verifier_last_fetch_timestamp_seconds{verifier="my-edge"}' in text
