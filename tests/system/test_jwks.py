"""The key set of the real process, whatever else happens to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import USHER, Process, get, running, stopping, usher
from tests.system.clients import as_user, connected

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")


def kids(process: Process) -> set[str]:
    status, body = get(process.jwks_url)
    assert status == 200
    return {key["kid"] for key in json.loads(body)["keys"]}


def listener_pid(process: Process) -> int:
    """The process of the public listener, the only child of a sidecar."""
    tasks = Path(f"/proc/{process.process.pid}/task")
    children = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    assert len(children) == 1
    return int(children[0])


def test_a_crowd_at_the_grpc_port_takes_no_files_from_verifiers(demo: dict[str, str]) -> None:
    """More connections than the process may have files, and verifiers are served all the same."""
    limited = Process(
        ["-c", 'ulimit -Sn 200 && exec "$0" "$@"', USHER, "serve"], dict(demo), command="/bin/sh"
    )
    with stopping(limited) as process, ExitStack() as crowd:
        process.wait_for("ready")
        host, _, port = process.grpc_address.rpartition(":")
        for _ in range(250):
            crowd.enter_context(socket.create_connection((host, int(port)), 5))
        assert kids(process)


@needs_proc
def test_a_listener_that_is_killed_is_replaced_with_the_same_keys(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("ready")
        before, killed = kids(process), listener_pid(process)
        os.kill(killed, signal.SIGKILL)
        assert kids(process) == before  # it waits for the next one; nobody is refused
        process.wait_for_event(lambda event: event.get("event") == "public_http_ended")
        assert listener_pid(process) != killed
        assert "usher_jwks_restarts_total 1.0" in get(process.url("/metrics"))[1]
        with connected(process.grpc_address) as client:
            assert client.issue("alice", {})


@needs_proc
def test_a_stop_sent_to_every_process_of_the_service_still_drains(demo: dict[str, str]) -> None:
    """As systemd does by default (systemd.kill(5), KillMode=control-group)."""
    with running("serve", **demo) as process:
        process.wait_for("ready")
        before, listener = kids(process), listener_pid(process)
        answers: list[object] = []

        def slow() -> None:
            with connected(process.grpc_address) as client:
                sql = "select id from users, pg_sleep(1.5)"
                answers.append(client.rows(as_user("alice", tenant_id="acme"), sql))

        asking = threading.Thread(target=slow)
        asking.start()
        time.sleep(0.5)
        for pid in (listener, process.process.pid):
            os.kill(pid, signal.SIGTERM)
        process.wait_for("draining")
        assert kids(process) == before
        asking.join()
        assert answers == [[("alice",)]]
        assert process.process.wait(20) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(listener, 0)


@needs_proc
def test_the_listener_ends_with_a_sidecar_that_is_killed(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("ready")
        listener = listener_pid(process)
        process.kill()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{listener}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{listener}").exists()


def test_the_set_follows_every_step_and_can_be_exported(demo: dict[str, str], tmp_path: Path) -> None:
    socket_ = f"unix:{tmp_path}/admin.sock"
    file = tmp_path / "jwks.json"
    with running("serve", **demo, grpc_admin_address=socket_) as process:
        process.wait_for("ready")
        first, second = (line.split()[0] for line in _keys("list", socket_).partition("\n\n")[0].splitlines())
        assert kids(process) == {first, second}
        _keys("revoke", socket_, first)
        left = kids(process)  # the answer of the revocation came after the set was sent
        assert first not in left
        assert second in left
        done = usher("jwks", "export", "--url", process.jwks_url, "--out", str(file))
        assert (done.returncode, done.stdout) == (0, "")
        assert {key["kid"] for key in json.loads(file.read_bytes())["keys"]} == left


def _keys(action: str, address: str, *arguments: str) -> str:
    done = usher("keys", action, *arguments, "--address", address)
    assert done.returncode == 0, done.stderr
    return done.stdout
