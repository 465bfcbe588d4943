from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from sidecar.embedded import guard

# A stand-in for the server that tells which signal ended it.
COMMAND = (
    "trap 'exit 3' INT; trap 'exit 4' QUIT; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
)
STUBBORN = "trap '' INT; trap 'exit 4' QUIT; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def lock() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def run_guard(lock: int, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, "", str(lock), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=(lock,),
        start_new_session=True,
    )


def test_the_end_of_its_input_stops_the_server(lock: int) -> None:
    with run_guard(lock, "sh", "-c", COMMAND) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(10) == 3


def test_signals_do_not_end_it(lock: int) -> None:
    with run_guard(lock, "sh", "-c", COMMAND) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process.pid, number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2 * guard.LOOK_SECONDS)
        process.stdin.close()
        assert process.wait(10) == 3


def test_it_ends_with_the_server(lock: int) -> None:
    with run_guard(lock, "sh", "-c", "exit 7") as process:
        assert process.wait(10) == 7


def test_a_command_that_cannot_run_is_said(lock: int) -> None:
    with run_guard(lock, "/nowhere/postgres") as process:
        assert process.stdout is not None
        assert process.stdout.read() == "cannot run /nowhere/postgres: No such file or directory\n"
        assert process.wait(10) == 1


@pytest.mark.parametrize(
    ("command", "deaf_to", "status"),
    [
        (STUBBORN, (signal.SIGINT,), 4),
        (STUBBORN.replace("exit 4", ""), (signal.SIGINT, signal.SIGQUIT), -signal.SIGKILL),
    ],
)
def test_a_server_that_does_not_listen_is_told_again(
    monkeypatch: pytest.MonkeyPatch, command: str, deaf_to: tuple[int, ...], status: int
) -> None:
    """No patience where nothing can come, and more than enough where it must: how busy we are is all one."""
    patience = tuple((number, 0.0 if number in deaf_to else 60.0) for number, _ in guard.ESCALATION)
    monkeypatch.setattr(guard, "ESCALATION", patience)
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        assert guard.stop(server) == status
