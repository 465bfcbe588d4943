"""A sidecar's gRPC side in a thread, so that the command line's own blocking calls can be tested."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli.main import main
from sidecar.rpc.doors import OPEN_DOOR, Door
from sidecar.rpc.server import RpcListener
from sidecar.services.access import Listener
from sidecar.services.callers import Callers
from tests.rpc.running import MIB, Parts, new_handlers, new_parts

START_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Where it listens, and its parts."""

    address: str
    admin_address: str
    parts: Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Usher = Callable[..., Done]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the person who runs the tests must not change them."""
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def usher(capsys: pytest.CaptureFixture[str]) -> Usher:
    """Runs one command in this process."""

    def run(*arguments: str) -> Done:
        code = exit_code(arguments)
        captured = capsys.readouterr()
        return Done(code=code, out=captured.out, err=captured.err)

    return run


def exit_code(arguments: Sequence[str]) -> int:
    """The exit code of a command; argparse leaves by SystemExit."""
    try:
        return main(arguments)
    except SystemExit as left:
        return int(left.code or 0)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar whose backend does what a test tells it to. Its clock stands at the time of the start."""
    with serving(f"unix:{tmp_path}/admin.sock") as there:
        yield there


@contextlib.contextmanager
def serving(
    admin_address: str, *, callers: Callers | None = None, door: Door = OPEN_DOOR
) -> Iterator[Sidecar]:
    """Runs both listeners in a thread for the time of the block; `door` is that of the data address."""
    parts = new_parts(time.time(), callers=callers)
    started, ending = threading.Event(), threading.Event()
    addresses: list[str] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        _, every = new_handlers(parts)
        listeners = [
            RpcListener(served, address, every, max_message_bytes=4 * MIB, reflection=False, door=through)
            for served, address, through in (
                (Listener.DATA, "127.0.0.1:0", door),
                (Listener.ADMIN, admin_address, OPEN_DOOR),
            )
        ]
        try:
            for listener in listeners:
                await listener.start()
                addresses.append(listener.address)
            await listeners[0].set_serving({"": True, "usher.v1.QueryService": False})
            started.set()
            await asyncio.to_thread(ending.wait)
        finally:
            for listener in listeners:
                await listener.stop(0)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(START_SECONDS)
        assert failures == []
        yield Sidecar(address=addresses[0], admin_address=addresses[1], parts=parts)
    finally:
        ending.set()
        thread.join(START_SECONDS)
    assert failures == []


@contextlib.contextmanager
def publishing(body: bytes, status: int = 200) -> Iterator[str]:
    """A plain HTTP server that answers everything alike; gives the URL of its JWKS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/.well-known/jwks.json"
        finally:
            server.shutdown()
            thread.join()
