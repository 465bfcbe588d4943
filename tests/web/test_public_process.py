"""The sidecar's end of the public listener, with its real process: stuck, killed, slow and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.clock import Clock, SystemClock
from sidecar.core.errors import SettingsError
from sidecar.core.events import JwksServed, PublicHttpEnded, RpcFault
from sidecar.core.keyring import PublishedKeys
from sidecar.web import public_process
from sidecar.web.discovery import JWKS_PATH
from sidecar.web.public_process import PublicProcess
from tests.fakes import Recorder
from tests.web.raw_client import connected

PATIENCE = 20.0
COMMAND = (
    sys.executable,
    "-P",
    "-m",
    "sidecar.app.public_http",
    "https://issuer.example",
    "edge",
    "json",
    "info",
)
ENDS_AT_ONCE = (sys.executable, "-c", "")
KEYS = PublishedKeys(
    body=b'{"keys":[{"kid":"one"}]}', etag='"1"', max_age=300, algorithms=("ES256",), version=1
)
NEWER = replace(KEYS, body=b'{"keys":[{"kid":"two"}]}', etag='"2"', version=2)


class Published:
    """What a signer publishes."""

    def __init__(self) -> None:
        self.now = KEYS

    def __call__(self) -> PublishedKeys:
        return self.now


class QuickClock(SystemClock):
    """A clock whose looks come as soon as there is nothing else to do."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


class Running:
    """A public process, and what it is made of."""

    def __init__(
        self, clock: Clock, address: str = "127.0.0.1:0", command: tuple[str, ...] = COMMAND
    ) -> None:
        self.published = Published()
        self.seen, self.faults = Recorder(), Recorder()
        self.public = PublicProcess(address, self.published, command, clock, self.seen, self.faults)

    @property
    def pid(self) -> int:
        child = self.public._child
        assert child is not None
        return child._process.pid

    async def get(self) -> bytes:
        async with connected(self.public.address) as client:
            return (await client.ask("GET", JWKS_PATH)).body

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110  what changes is in another process
                await asyncio.sleep(0.01)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = Running(SystemClock())
    await running.public.start()
    yield running
    await running.public.stop(1.0)


@pytest.fixture
async def kept() -> AsyncIterator[Running]:
    """The same, looked after in quick time."""
    kept = Running(QuickClock())
    await kept.public.start()
    keeping = asyncio.create_task(kept.public.run())
    yield kept
    await kept.public.stop(1.0)
    await keeping


async def test_it_answers_while_the_loop_of_the_sidecar_is_stuck(running: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fetch, f"http://{running.public.address}{JWKS_PATH}")
        assert asked.result(PATIENCE) == KEYS.body  # nothing else of this loop can run


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
        return body


async def test_a_new_set_is_served_once_it_is_refreshed(running: Running) -> None:
    running.published.now = NEWER
    running.public.refresh()
    async with asyncio.timeout(PATIENCE):
        while await running.get() != NEWER.body:
            pass
    running.public.refresh()
    assert await running.get() == NEWER.body


async def test_a_set_that_changes_by_time_alone_is_found_by_looking(kept: Running) -> None:
    kept.published.now = replace(KEYS, max_age=10)
    async with asyncio.timeout(PATIENCE), connected(kept.public.address) as client:
        while (await client.ask("GET", JWKS_PATH)).headers["cache-control"] != "public, max-age=10":
            pass


async def test_what_is_served_is_observed_here(running: Running) -> None:
    async with connected(running.public.address) as client:
        await client.ask("GET", JWKS_PATH, User_Agent="neon-proxy")
        await client.ask("GET", JWKS_PATH, User_Agent="neon-proxy")
        await client.ask("POST", JWKS_PATH)

    def counts() -> dict[tuple[int, str, int], int]:
        found: dict[tuple[int, str, int], int] = {}
        for event in running.seen.of(JwksServed):
            kind = event.status, event.agent, event.version
            found[kind] = found.get(kind, 0) + event.count
        return found

    await running.until(lambda: counts() == {(200, "neon-proxy", 1): 2, (405, "other", 0): 1})
    assert 0.0 <= running.public.lag < PATIENCE


async def test_a_process_that_is_killed_is_replaced_and_nobody_is_refused(kept: Running) -> None:
    killed = kept.pid
    kept.published.now = NEWER
    os.kill(killed, signal.SIGKILL)
    # The port stays bound: the connection waits for the next process.
    assert await kept.get() == NEWER.body
    await kept.until(lambda: kept.seen.of(PublicHttpEnded) == [PublicHttpEnded(code=-signal.SIGKILL)])
    assert kept.pid != killed


async def test_a_process_that_hangs_is_replaced(kept: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = kept.pid
    os.kill(stuck, signal.SIGSTOP)
    await kept.until(lambda: kept.public.lag > 2 * public_process.LOOK_SECONDS)
    await kept.until(lambda: len(kept.seen.of(PublicHttpEnded)) >= 1)
    await kept.until(lambda: kept.pid != stuck)
    assert await kept.get() == KEYS.body


async def test_a_process_that_cannot_be_replaced_is_tried_again(kept: Running) -> None:
    command = kept.public._command
    kept.public._command = ENDS_AT_ONCE
    os.kill(kept.pid, signal.SIGKILL)
    await kept.until(lambda: len(kept.seen.of(RpcFault)) > 1)
    assert {type(event.error) for event in kept.seen.of(RpcFault)} == {EOFError}
    kept.public._command = command
    assert await kept.get() == KEYS.body


async def test_signals_to_all_of_a_service_do_not_end_it(running: Running) -> None:
    """As an init system sends them to every process of a service; the sidecar has calls to end first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(running.pid, number)
    assert await running.get() == KEYS.body
    assert os.getpgid(running.pid) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
async def test_the_process_has_neither_our_secrets_nor_our_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_CLAIM_KEY", "a-secret")
    monkeypatch.setenv("PGPASSWORD", "a-secret")
    ours = os.pipe()
    for number in ours:
        os.set_inheritable(number, True)
    pipe = os.readlink(f"/proc/self/fd/{ours[0]}")
    running = Running(SystemClock())
    await running.public.start()
    place = Path(f"/proc/{running.pid}")
    environment = place.joinpath("environ").read_bytes()
    files = [os.readlink(place / "fd" / number) for number in os.listdir(place / "fd")]
    await running.public.stop(1.0)
    for number in ours:
        os.close(number)
    assert b"a-secret" not in environment
    assert b"PATH=" in environment
    assert pipe not in files


async def test_an_address_that_is_taken_names_the_setting(running: Running) -> None:
    other = Running(SystemClock(), running.public.address)
    with pytest.raises(SettingsError, match="http_address: cannot listen on"):
        await other.public.start()


async def test_a_process_that_ends_at_its_start_stops_the_start_and_frees_the_port() -> None:
    running = Running(SystemClock(), command=ENDS_AT_ONCE)
    with pytest.raises(EOFError):
        await running.public.start()
    with pytest.raises(ConnectionRefusedError):
        await running.get()
    await running.public.stop(0.0)


async def test_a_stop_frees_the_port_ends_the_process_and_is_no_accident() -> None:
    running = Running(QuickClock())
    address = await running.public.start()
    keeping = asyncio.create_task(running.public.run())
    pid = running.pid
    async with connected(address) as idle:
        await idle.ask("GET", JWKS_PATH)
        await running.public.stop(1.0)
        assert await idle.rest() == b""
    await keeping
    assert running.seen.of(PublicHttpEnded) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    again = Running(SystemClock(), address)
    assert await again.public.start() == address
    await again.public.stop(1.0)


async def test_a_stop_ends_a_process_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_process, "ENDING_SECONDS", 0.1)
    running = Running(SystemClock())
    await running.public.start()
    os.kill(running.pid, signal.SIGSTOP)
    pid = running.pid
    await running.public.stop(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_process_ends_with_whoever_started_it() -> None:
    """Its end of the channel is the only thing that the kernel tells of a kill -9."""
    program = """
import asyncio, os, sys
from tests.web.test_public_process import Running
from sidecar.core.clock import SystemClock
async def main():
    running = Running(SystemClock())
    await running.public.start()
    print(running.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    reading, writing = os.pipe()
    done = threading.Event()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", program],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
    )
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as output:
        child = int(output.read())
    while not done.wait(0.01):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            done.set()
