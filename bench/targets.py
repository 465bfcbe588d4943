"""Starts what is measured: sidecars in several forms, and their peers, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.world import BELIEVING, GUARDED, PLAIN, World
from sidecar.config import DECLARED
from sidecar.core.policy import METHODS
from tests import certificates

ROOT: Final = Path(__file__).parent.parent
HONO: Final = Path(__file__).parent / "peers" / "hono"
KEY: Final = "usher_" + "k" * 43
"""The bearer key of the one caller that all know."""
POOL: Final = 8
"""Connections of everybody to the database."""
START_SECONDS: Final = 120.0
AT_ONCE: Final = 3
"""So many start at a time."""
SPIFFE_ID: Final = "spiffe://example.org/bench"

_RULES: Final = """
methods = METHODS
subjects = ["user-*"]
sql = "free"
read_only = false
[callers.NAME.claims]
tenant_id = { any = true, required = true }
permissions = { values = ["orders:read", "orders:write"] }
role = { any = true }
"""


class MissingError(Exception):
    """What is to be measured is not here. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running contestant."""

    name: str
    root: int
    """Its first process."""
    addresses: Mapping[str, str]
    """By protocol: grpc, connect, http."""
    tls: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"authorization": f"Bearer {KEY}"})

    def pids(self) -> list[int]:
        """All of its processes now."""
        return machine.family(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A form of the sidecar."""

    name: str
    off: Sequence[str] = ()
    """Names of bench/unguarded.py."""
    settings: Mapping[str, str] = field(default_factory=dict)
    certificate: bool = False
    """The caller proves itself by a client certificate instead of its key."""
    database_port: int = 0


class Stage:
    """Starts contestants, and ends all of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._starting = asyncio.Semaphore(AT_ONCE)

    async def sidecar(self, form: Sidecar) -> Target:
        """`usher serve`. Raises MissingError when this form cannot be had."""
        place = self._folder / form.name
        place.mkdir()
        caller = "anonymous" if "caller" in form.off else "bench"
        identity = (
            "" if caller == "anonymous" else f'key_sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"'
        )
        settings = {
            **self._world.usher(BELIEVING if "claims" in form.off else GUARDED, form.database_port),
            "pool_max_size": str(POOL),
            "pool_min_size": str(POOL),
            "policy_file": str(place / "policy.toml"),
            "grpc_address": "127.0.0.1:0",
            "http_address": "127.0.0.1:0",
            "admin_http_address": "127.0.0.1:0",
            "issuer": "https://issuer.example",
            "log_format": "json",
            **form.settings,
        }
        tls = None
        if form.certificate:
            identity = f'spiffe_id = "{SPIFFE_ID}"'
            tls = _certificates(place, settings)
        rules = _RULES.replace("NAME", caller).replace("METHODS", json.dumps(sorted(METHODS)))
        (place / "policy.toml").write_text(f"[callers.{caller}]\n{identity}\n{rules}")
        if "connect_address" in DECLARED and not form.certificate:
            settings["connect_address"] = "127.0.0.1:0"
        if form.off:
            command = [sys.executable, "-m", "bench.unguarded", ",".join(form.off), "serve"]
        else:
            command = [sys.executable, "-m", "sidecar", "serve"]
        environment = {f"USHER_{name.upper()}": value for name, value in settings.items()}
        addresses: dict[str, str] = {}
        async with self._starting:
            log, process = self._start(form.name, command, environment)
            async for line in self._lines(log, process):
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("phase") == "started":
                    addresses = dict(part.split("=", 1) for part in event["detail"].split())
                if event.get("phase") == "ready":
                    break
        headers = {} if caller == "anonymous" or tls else {"authorization": f"Bearer {KEY}"}
        return Target(name=form.name, root=process.pid, addresses=addresses, tls=tls, headers=headers)

    async def hono(self, database_port: int = 0) -> Target:
        """The guide's stack in TypeScript. Raises MissingError without Node and npm."""
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise MissingError("node or npm is not installed")
        done = await asyncio.to_thread(_build_hono, npm)
        if done:
            raise MissingError(f"bench/peers/hono cannot be built: {done}")
        dsn = self._world.dsn("peer", PLAIN, database_port)
        return await self._peer(
            "hono", [node, "build/server.js", dsn], {"NODE_ENV": "production", "BENCH_KEY": KEY}, cwd=HONO
        )

    async def naive(self, database_port: int = 0) -> Target:
        """The plain port to Python."""
        dsn = self._world.dsn("peer", PLAIN, database_port)
        return await self._peer("naive", [sys.executable, "-m", "bench.peers.naive", dsn])

    async def echo(self) -> Target:
        """gRPC that does nothing."""
        return await self._peer("echo", [sys.executable, "-m", "bench.peers.echo"])

    async def postgrest(self, program: str) -> Target:
        """PostgREST, where its binary is given. It takes tokens that are signed with a shared secret."""
        if not program or shutil.which(program) is None:
            raise MissingError("no PostgREST binary was given (--postgrest PATH)")
        port = _free_port()
        environment = {
            "PGRST_DB_URI": self._world.dsn("peer", PLAIN),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_POOL": str(POOL),
            "PGRST_JWT_SECRET": KEY,
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(port),
        }
        log, process = self._start("postgrest", [program], environment)
        async for line in self._lines(log, process):
            if "chema cache loaded" in line:
                break
        address = {"http": f"127.0.0.1:{port}"}
        return Target(name="postgrest", root=process.pid, addresses=address, headers={})

    async def distance(self, seconds: float) -> int:
        """A proxy before the database that adds so many seconds each way; its port."""
        command = [
            sys.executable,
            "bench/distance.py",
            "127.0.0.1",
            str(self._world.server.port),
            str(seconds),
        ]
        log, process = self._start(f"distance-{seconds}", command, {})
        async for line in self._lines(log, process):
            return int(line)
        raise AssertionError  # it printed nothing and ended: _lines has said so

    def close(self) -> None:
        """Ends all, the last first."""
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    async def _peer(
        self, name: str, command: list[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> Target:
        log, process = self._start(name, command, environment or {}, cwd)
        async for line in self._lines(log, process):
            if line.startswith("listening "):
                address = line.split()[1]
                return Target(name=name, root=process.pid, addresses={"grpc": address, "http": address})
        raise AssertionError  # as above

    def _start(
        self, name: str, command: list[str], environment: Mapping[str, str], cwd: Path = ROOT
    ) -> tuple[Path, subprocess.Popen[bytes]]:
        log = self._folder / f"{name}-{len(self._running)}.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("USHER_")}
        with open(log, "wb") as file:  # a file: a pipe would have to be read while it is measured
            process = subprocess.Popen(
                command, cwd=cwd, env=kept | dict(environment), stdout=file, stderr=subprocess.STDOUT
            )
        self._running.append(process)
        return log, process

    async def _lines(self, log: Path, process: subprocess.Popen[bytes]) -> AsyncIterator[str]:
        """The lines of a log as they come. Raises MissingError when the process ends or says no more."""
        deadline = time.monotonic() + START_SECONDS
        with open(log) as file:  # noqa: ASYNC230  a short read of a local file
            while True:
                line = file.readline()
                if line.endswith("\n"):
                    yield line.rstrip()
                elif process.poll() is not None or time.monotonic() > deadline:
                    file.seek(0)
                    said = "\n".join(file.read().splitlines()[-8:])
                    raise MissingError(f"it did not start: {said}")
                else:
                    await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def stage(world: World, folder: Path) -> AsyncIterator[Stage]:
    """A stage whose contestants end with the block."""
    place = folder / f"stage-{time.monotonic_ns()}"
    place.mkdir()
    built = Stage(world, place)
    try:
        yield built
    finally:
        await asyncio.to_thread(built.close)


def _build_hono(npm: str) -> str:
    """Installs and compiles it where that is due; what went wrong."""
    wanted = [
        (
            [npm, "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"],
            HONO / "package-lock.json",
            HONO / "node_modules/.package-lock.json",
        ),
        (["node_modules/.bin/tsc", "-p", "."], HONO / "server.ts", HONO / "build/server.js"),
    ]
    with open(HONO / "package.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several are started at once
        for step, source, made in wanted:
            if made.exists() and made.stat().st_mtime >= source.stat().st_mtime:
                continue
            done = subprocess.run(step, cwd=HONO, capture_output=True, text=True, check=False, timeout=600)
            if done.returncode != 0:
                return (done.stderr or done.stdout)[-400:]
    return ""


def _certificates(place: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Makes an authority, a server's and a client's certificate; the client's files."""
    authority = certificates.authority()
    ca, _ = authority.write(place, "ca")
    server, server_key = certificates.server(authority).write(place, "server")
    client, client_key = certificates.client(authority, uris=[SPIFFE_ID]).write(place, "client")
    settings["tls_cert_file"], settings["tls_key_file"] = str(server), str(server_key)
    settings["tls_client_ca_file"] = str(ca)
    return {"authority": str(ca), "certificate": str(client), "key": str(client_key)}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
