"""Interrupts that arrive at the moments that Python's own KeyboardInterrupt is known to be lost in.

Each runs the real command in a process that a tracer sends SIGINT at one step of its own code: a moment that
chance hits once in thousands of runs, and then whenever a machine is busy.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar import interrupts
from tests.processes import USHER, environment

AS_ALICE = ("--sub", "alice", "--claim", "tenant_id=acme")
SLEEPS = "select pg_sleep(20)"

# Arguments: the end of a file's name, a function in it, the text of the line before which the signal comes
# ("" for the first one), and the command line.
INTERRUPTED = """
import linecache, signal, sys

file, function, text, *sys.argv[1:] = sys.argv[1:]

def trace(frame, event, argument):
    code = frame.f_code
    if code.co_name != function or not code.co_filename.endswith(file):
        return None
    if event == "line" and linecache.getline(code.co_filename, frame.f_lineno).strip().startswith(text):
        sys.settrace(None)
        signal.raise_signal(signal.SIGINT)
    return trace

sys.settrace(trace)
from sidecar.__main__ import main
sys.exit(main())
"""

WAIT_OF_GRPC = ("threading.py", "wait", "gotit = False")
"""The condition has just given up its lock."""
FIELD_OF_A_CLASS = ("dataclasses.py", "__set_name__", "")
"""While our modules are imported."""
FINALIZER = ("grpc/_channel.py", "__del__", "")
END_OF_THE_CLIENT = ("usher/sync.py", "close", "")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("moment", "command"),
    [
        (WAIT_OF_GRPC, ("query", *AS_ALICE, "--stream", "--json", SLEEPS)),
        (FIELD_OF_A_CLASS, ("transaction", *AS_ALICE, "--sql", SLEEPS)),
        (FINALIZER, ("transaction", *AS_ALICE, "--sql", "select 1")),
        (FINALIZER, ("token", "issue", *AS_ALICE)),
        (END_OF_THE_CLIENT, ("query", *AS_ALICE, "--stream", "--json", "select 1")),
        (END_OF_THE_CLIENT, ("token", "issue", *AS_ALICE)),
    ],
)
def test_a_command_ends_at_once_whatever_the_moment(
    live_sidecar: Any, moment: tuple[str, ...], command: tuple[str, ...]
) -> None:
    done = run("-c", INTERRUPTED, *moment, *command, "--address", live_sidecar.grpc_address)
    assert (done.returncode, done.stderr) == (interrupts.EXIT_CODE, "")


def test_a_command_that_tidies_up_does_so_first(tmp_path: Path, live_sidecar: Any) -> None:
    old = tmp_path / "jwks.json"
    old.write_text("old")
    moment = ("sidecar/cli/jwks.py", "_replace", "os.fchmod")
    done = run(
        "-c", INTERRUPTED, *moment, "jwks", "export", "--url", live_sidecar.jwks_url, "--out", str(old)
    )
    assert (done.returncode, done.stderr) == (interrupts.EXIT_CODE, "")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("jwks.json", "old")]


def test_a_command_on_a_database_is_as_quiet(postgres_dsn: str) -> None:
    moment = ("sidecar/postgres/installer.py", "installed_version", "")
    done = run("-c", INTERRUPTED, *moment, "db", "version", "--database-url", postgres_dsn)
    assert (done.returncode, done.stdout, done.stderr) == (interrupts.EXIT_CODE, "", "")


TIDIES = """
import asyncio, signal
from sidecar import interrupts

async def main():
    try:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)
    finally:
        print("closed", flush=True)

interrupts.end_at_once()
try:
    interrupts.run(main())
except KeyboardInterrupt:
    print("raised", flush=True)
with interrupts.unwinding():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("raised", flush=True)
signal.raise_signal(signal.SIGINT)
print("not reached", flush=True)
"""


def test_only_what_tidies_up_sees_the_interrupt() -> None:
    done = run("-c", TIDIES)
    assert (done.returncode, done.stdout, done.stderr) == (130, "closed\nraised\nraised\n", "")


def test_who_was_told_to_ignore_interrupts_does(live_sidecar: Any) -> None:
    """As shells tell what they start in the background (POSIX.1-2024, 2.11)."""
    command = ("token", "issue", *AS_ALICE, "--address", live_sidecar.grpc_address)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the command inherits
    try:
        done = run("-c", INTERRUPTED, *END_OF_THE_CLIENT, *command)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_nobody_reads_does_not_hold_it(live_sidecar: Any) -> None:
    rows = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
    process = subprocess.Popen(
        [USHER, "query", *AS_ALICE, "--address", live_sidecar.grpc_address, "--stream", "--json", rows],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == interrupts.EXIT_CODE
        assert process.stderr.read() == b""
