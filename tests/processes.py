"""The real command `usher` as a process of its own, on free ports."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

USHER: Final = str(Path(sys.executable).parent / "usher")
START_SECONDS: Final = 60.0
"""Far more than a start takes, for a machine that is busy."""


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of Usher's, and these added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("USHER_")}
    return kept | {f"USHER_{name.upper()}": value for name, value in settings.items()}


def usher(*arguments: str, stdin: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        [USHER, *arguments],
        env=environment(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class Process:
    """A running `usher serve` or `usher dev`."""

    def __init__(
        self,
        arguments: list[str],
        settings: Mapping[str, str],
        cwd: Path | None = None,
        *,
        command: str = USHER,
        account: Mapping[str, Any] | None = None,
    ) -> None:
        """`account`: Popen's options for another user, whose home is nowhere."""
        self.process = subprocess.Popen(
            [command, *arguments],
            env=environment(
                **{
                    "grpc_address": "127.0.0.1:0",
                    "http_address": "127.0.0.1:0",
                    "admin_http_address": "127.0.0.1:0",
                    "issuer": "https://issuer.example",
                    "log_format": "json",
                }
                | dict(settings)
            )
            | ({"HOME": "/nonexistent"} if account else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            start_new_session=True,
            **(account or {}),
        )
        self.lines: list[str] = []
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.addresses: dict[str, str] = {}

    @property
    def grpc_address(self) -> str:
        return self.addresses["grpc"]

    @property
    def admin_grpc_address(self) -> str:
        return self.addresses["grpc_admin"]

    @property
    def jwks_url(self) -> str:
        return f"http://{self.addresses['http']}/.well-known/jwks.json"

    def url(self, path: str) -> str:
        """A path of the private HTTP port."""
        return f"http://{self.addresses['admin_http']}{path}"

    def wait_for(self, phase: str) -> Process:
        """Returns once the log has the event `lifecycle` with this phase; learns the addresses on the way."""
        self.wait_for_event(lambda event: _is_phase(event, phase))
        return self

    def wait_for_event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next event of the log that is wanted."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                line = self._fresh.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("it says no more:\n" + "\n".join(self.lines)) from None
            assert line is not None, "it ended:\n" + "\n".join(self.lines)
            event = _event(line)
            if _is_phase(event, "started"):
                self.addresses = dict(part.split("=", 1) for part in event["detail"].split())
            if wanted(event):
                return event

    def events(self, name: str) -> list[dict[str, Any]]:
        """All events of this name so far."""
        return [event for line in self.lines if (event := _event(line)).get("event") == name]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to stop; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        code = self.process.wait(START_SECONDS)
        self._reading.join()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                self._fresh.put(self.lines[-1])
        self._fresh.put(None)


@contextmanager
def running(*arguments: str, cwd: Path | None = None, **settings: str) -> Iterator[Process]:
    """A process that is stopped at the end of the block, by force if it must be."""
    with stopping(Process(list(arguments), settings, cwd)) as process:
        yield process


@contextmanager
def stopping(process: Process) -> Iterator[Process]:
    """Stops the process at the end of the block, by force if it must be."""
    try:
        yield process
    finally:
        try:
            process.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def get(url: str) -> tuple[int, str]:
    """The status and body of one GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _is_phase(event: Mapping[str, Any], phase: str) -> bool:
    """Of the whole sidecar, not of one of its workers."""
    return event.get("event") == "lifecycle" and event.get("phase") == phase and "worker" not in event


def _event(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    found: dict[str, Any] = json.loads(line)
    return found
