"""How fast the key set is served while all else is busy: gRPC saturated, RSA keys made back to back.

Usage: python bench/jwks_under_load.py [SECONDS] [USHER ...]. Each USHER is a command to measure, the one of
this environment when none is named: name those of two checkouts to see what a change does. The sidecar, two
processes of clients (each with CALLS calls on their way, tokens and queries in turns) and the verifier are
processes of their own on this machine. The verifier asks every 10 ms, on a kept connection and on a new one
in turns, and times each answer from the moment when the question was due: a late answer delays the next
question and counts for it too. It shares the cores with the load: part of what it sees is its wait for one.
docs/adr/0012-jwks-listener.md has the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from usher.v1 import (
    key_service_pb2,
    key_service_pb2_grpc,
    query_service_pb2,
    query_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer

PROCESSES, CALLS = 2, 100
EVERY_SECONDS = 0.01
PASSWORD = "of-the-bench"
REQUEST = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: bench\r\nUser-Agent: neon-proxy\r\n\r\n"
SMALL = "select * from users"
LARGE = "select g, repeat(md5(g::text), 12) as text from generate_series(1, 9000) as g"
"""Nearly as many bytes as one answer may have by default."""
CASES = (
    ("idle", "ES256", "", False),
    ("gRPC saturated, ES256", "ES256", SMALL, False),
    ("gRPC saturated, large results", "ES256", LARGE, False),
    ("gRPC saturated, RS256 4096", "RS256", SMALL, False),
    ("RSA-4096 keys back to back", "RS256", "", True),
    ("RSA-4096 keys and gRPC saturated", "RS256", SMALL, True),
)
"""Name, algorithm, the query of the load, key generation."""

SPAWN = multiprocessing.get_context("spawn")  # gRPC does not survive a fork


def ask(connection: socket.socket) -> None:
    """One question and its whole answer."""
    connection.sendall(REQUEST)
    got = b""
    while b"\r\n\r\n" not in got:
        got += receive(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += receive(connection)
    assert json.loads(body)["keys"]


def receive(connection: socket.socket) -> bytes:
    """What is there, at least a byte."""
    data = connection.recv(65536)
    assert data, "the connection was closed"
    return data


def verify(address: str, seconds: float, answers: Any) -> None:
    """A verifier. Puts the seconds of every question: on the kept connection, on new ones."""
    host, _, port = address.rpartition(":")
    found: tuple[list[float], list[float]] = ([], [])
    with socket.create_connection((host, int(port)), 30) as kept:
        kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(kept)
        began = time.perf_counter()
        for number in range(int(seconds / EVERY_SECONDS)):
            due = began + number * EVERY_SECONDS
            time.sleep(max(0.0, due - time.perf_counter()))
            if number % 2:
                with socket.create_connection((host, int(port)), 30) as fresh:
                    ask(fresh)
            else:
                ask(kept)
            found[number % 2].append(time.perf_counter() - due)
    answers.put(found)


def load(address: str, stop: Event, counts: Any, sql: str) -> None:
    """Clients that always have CALLS calls on their way."""
    asyncio.run(_load(address, stop, counts, sql))


async def _load(address: str, stop: Event, counts: Any, sql: str) -> None:
    claims = Struct()
    claims.update({"tenant_id": "acme"})
    token = token_service_pb2.IssueTokenRequest(subject="alice", claims=claims)
    query = query_service_pb2.RunScopedQueryRequest(
        scope=query_service_pb2.Scope(principal=query_service_pb2.Principal(subject="alice", claims=claims)),
        sql=sql,
        options=query_service_pb2.QueryOptions(max_rows=10_000),
    )
    done = {"tokens": 0, "queries": 0, "refused": 0}
    async with grpc.aio.insecure_channel(address) as channel:
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
        queries = query_service_pb2_grpc.QueryServiceStub(channel)  # type: ignore[no-untyped-call]

        async def one(number: int) -> None:
            while not stop.is_set():
                name, call = (
                    ("tokens", tokens.IssueToken(token, timeout=30))
                    if number % 2
                    else ("queries", queries.RunScopedQuery(query, timeout=30))
                )
                try:
                    await call
                    done[name] += 1
                except grpc.aio.AioRpcError:
                    done["refused"] += 1

        await asyncio.gather(*(one(number) for number in range(CALLS)))
    counts.put(done)


def make_keys(address: str, stop: Event, counts: Any) -> None:
    """Has the sidecar make one key after the other: each revocation of the active key makes the next."""
    made = 0
    with grpc.insecure_channel(address) as channel:
        keys = key_service_pb2_grpc.KeyServiceStub(channel)  # type: ignore[no-untyped-call]
        while not stop.is_set():
            listed = keys.ListKeys(key_service_pb2.ListKeysRequest(), timeout=60).keys
            active = next(key.kid for key in listed if key.state == key_service_pb2.KEY_STATE_ACTIVE)
            keys.RevokeKey(key_service_pb2.RevokeKeyRequest(kid=active), timeout=60)
            made += 1
    counts.put({"keys": made})


def measure(
    addresses: dict[str, str], seconds: float, *, sql: str, keys: bool
) -> tuple[tuple[list[float], list[float]], dict[str, int]]:
    """One case: what the verifier saw, and what the load did meanwhile."""
    stop, counts, answers = SPAWN.Event(), SPAWN.Queue(), SPAWN.Queue()
    busy: list[Any] = []
    for _ in range(PROCESSES if sql else 0):
        busy.append(SPAWN.Process(target=load, args=(addresses["grpc"], stop, counts, sql)))
    if keys:
        busy.append(SPAWN.Process(target=make_keys, args=(addresses["grpc_admin"], stop, counts)))
    for process in busy:
        process.start()
    time.sleep(3 if busy else 1)  # until all are under way
    verifier = SPAWN.Process(target=verify, args=(addresses["http"], seconds, answers))
    verifier.start()
    found = answers.get(timeout=seconds * 10 + 60)
    stop.set()
    totals: dict[str, int] = {}
    for _ in busy:
        totals |= {name: totals.get(name, 0) + count for name, count in counts.get(timeout=90).items()}
    for process in (*busy, verifier):
        process.join()
    return found, totals


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """For the server, which is another account where we are root, and must be able to enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextlib.contextmanager
def sidecar(usher: str, settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """A running sidecar; its addresses."""
    options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    process = subprocess.Popen([usher, "serve", *options], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        addresses: dict[str, str] = {}
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("phase") == "started":
                addresses = dict(part.split("=", 1) for part in event["detail"].split())
            if event.get("phase") == "ready":
                break
        assert addresses, "the sidecar did not start"
        yield addresses
    finally:
        process.terminate()
        process.communicate(timeout=60)


async def fill(server: EmbeddedPostgres) -> dict[str, str]:
    """Installs the demo; returns the settings of a sidecar on it."""
    admin = await installer.connect(server.superuser_dsn())
    await installer.install(admin)
    await admin.execute(installer.demo_script())
    await installer.make_logins(admin, "bench", 12, password=PASSWORD)
    key = await installer.add_key(admin)
    await admin.close()
    host = server.superuser_dsn().rpartition("@")[2]
    return {
        "database_url": f"postgresql://bench:{PASSWORD}@{host}",
        "database_logins": "12",
        "claim_key": key,
    }


def row(name: str, times: list[float]) -> str:
    """Percentiles in milliseconds."""
    ordered = sorted(times)
    p50, p99, most = (
        ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3 for part in (0.5, 0.99, 1)
    )
    return f"  {name:12} p50 {p50:7.1f}  p99 {p99:7.1f}  max {most:7.1f} ms"


def measure_all(usher: str, settings: dict[str, str], seconds: float) -> None:
    """All cases on one command, printed."""
    print(usher)
    for name, algorithm, sql, keys in CASES:
        with (
            tempfile.TemporaryDirectory() as place,
            sidecar(
                usher,
                settings
                | dict.fromkeys(("grpc_address", "http_address", "admin_http_address"), "127.0.0.1:0")
                | {
                    "grpc_admin_address": f"unix:{place}/admin.sock",
                    "issuer": "https://issuer.example",
                    "algorithm": algorithm,
                    "rsa_bits": "4096",
                    "log_format": "json",
                    "log_level": "info",
                },
            ) as addresses,
        ):
            (kept, fresh), totals = measure(addresses, seconds, sql=sql, keys=keys)
        print(f" {name}: {', '.join(f'{count} {what}' for what, count in totals.items()) or 'no load'}")
        print(row("kept", kept))
        print(row("new", fresh), flush=True)


async def main(seconds: float, ushers: list[str]) -> None:
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            settings = await fill(server)
            for usher in ushers:
                measure_all(usher, settings, seconds)
        finally:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(
        main(
            float(sys.argv[1]) if len(sys.argv) > 1 else 15.0,
            sys.argv[2:] or [str(Path(sys.executable).parent / "usher")],
        )
    )
