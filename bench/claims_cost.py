"""What signed claims cost a query: CPU of the sidecar and of Postgres, and the time waited for an answer.

Usage: python bench/claims_cost.py [ROUNDS]. On an embedded PostgreSQL, one connection, a query of one row of
two tables with a policy each. Four ways take turns, and medians of the rounds are shown: plain claims as in
step 1 of the SQL side, and signed claims as served, each with and without DISCARD PLANS in the scrub.
docs/adr/0006-signed-claims.md has the figures. Linux: the CPU of a backend is read from /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from sidecar.core.clock import SystemClock
from sidecar.core.issuer import Scope
from sidecar.core.queries import Statement
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer, sessions
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.entry import SERIALIZABLE, Entry
from sidecar.postgres.pool import Connect, Pool, PoolSettings
from sidecar.postgres.scoped_backend import ClaimSettings
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.wire import Step

QUERIES = 300
"""In one turn."""
WAYS = ("plain, plans kept", "plain", "signed, plans kept", "signed")
SCRUB = sessions.SCRUB
PLANS_KEPT = SCRUB.replace(";\nDISCARD PLANS", "")
PASSWORD = "of-the-bench"
ALICE = Scope(subject="alice", payload={"sub": "alice", "tenant_id": "acme", "iat": 0, "exp": 4_000_000_000})
QUERY = Statement(
    sql="select u.name, t.name from users as u join tenants as t on t.id = u.tenant_id",
    verb="SELECT",
    parameters=(),
    read_only=False,
    timeout=30.0,
    max_rows=1000,
)
_PLAIN = f"""
SELECT pg_catalog.set_config('request.jwt.claims', $1, true),
       pg_catalog.set_config('statement_timeout', $2, true),
       pg_catalog.set_config('role', $3, true),
       {SERIALIZABLE}
"""


class PlainClaimsBackend(SignedClaimsBackend):
    """The same without tags."""

    async def entry(
        self, connection: Any, scope: Scope, timeout: float, *, read_only: bool, **options: Any
    ) -> Entry:
        role, milliseconds = self._settings.role, str(round(timeout * 1000))
        begin = Step(sql="BEGIN READ ONLY" if read_only else "BEGIN")
        claims = Step(sql=_PLAIN, arguments=(scope.payload_json, milliseconds, role))
        return Entry(role=role, begin=(begin,), identity=(claims,), explain=lambda step, error: None)


async def fill(server: EmbeddedPostgres, name: str, up_to: int | None = None) -> str:
    """A database with the demo; returns its claim key when it has step 2."""
    admin = await installer.connect(server.superuser_dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    admin = await installer.connect(server.superuser_dsn(name))
    await installer.install(admin, up_to=up_to)
    await admin.execute(installer.demo_script())
    key = ""
    if up_to != 1:
        await installer.make_logins(admin, "bench", 2, password=PASSWORD)
        key = await installer.add_key(admin)
    await admin.close()
    return key


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """For the server, which is another account where we are root, and must be able to enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def place_of(server: EmbeddedPostgres, database: str) -> str:
    """What follows the user in a DSN."""
    return server.superuser_dsn(database).rpartition("@")[2]


def dsn_of(place: str) -> str:
    """For the logins of the bench."""
    return f"postgresql://bench:{PASSWORD}@{place}"


async def fit(connection: Any) -> None:
    """For databases that are known."""


@contextlib.asynccontextmanager
async def opened(
    place: str, opening: Callable[[Connect], Connect] = lambda connect: connect
) -> AsyncIterator[Pool]:
    """A pool of one connection to a place.

    Each turn has its own: asyncpg replaces connections after many queries.
    """
    ready = asyncio.Event()
    chosen = Pool(
        PoolSettings(database_url=dsn_of(place), max_size=1, logins=2),
        fit,
        SystemClock(),
        lambda event: ready.set(),
        opening,
    )
    running = asyncio.create_task(chosen.run())
    await ready.wait()
    assert chosen.trouble is None, chosen.trouble
    try:
        yield chosen
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await chosen.close(5)


def backend_cpu(pid: int) -> float:
    """CPU seconds of a process so far (man 5 proc, schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def turn(
    backend: SignedClaimsBackend, chosen: Pool, pid: int, queries: int
) -> tuple[float, float, float]:
    """Microseconds a query: CPU here, CPU of the backend, time waited. The scrub is in both CPUs."""
    here, there, waited = time.process_time(), backend_cpu(pid), 0.0
    for _ in range(queries):
        started = time.perf_counter()
        _, result = await backend.run(ALICE, QUERY, lambda result: None)
        waited += time.perf_counter() - started
        assert result.row_count == 1
        await asyncio.gather(*chosen._returning)  # the scrub, which no query then waits for
    here, there = time.process_time() - here, backend_cpu(pid) - there
    return here / queries * 1e6, there / queries * 1e6, waited / queries * 1e6


async def measure(server: EmbeddedPostgres, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    key = ClaimKey.parse(await fill(server, "signed"))
    await fill(server, "plain", up_to=1)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for number in range(rounds):
        for name in WAYS[number % 4 :] + WAYS[: number % 4]:
            kind = SignedClaimsBackend if "signed" in name else PlainClaimsBackend
            sessions.SCRUB = PLANS_KEPT if "kept" in name else SCRUB
            async with opened(place_of(server, name.partition(",")[0])) as chosen:
                async with chosen.lease() as connection:
                    pid = connection.get_server_pid()
                backend = kind(chosen, ClaimSettings(), CurrentKey(key))
                await turn(backend, chosen, pid, 30)  # warms up
                found[name].append(await turn(backend, chosen, pid, QUERIES))
    return found


async def tags(count: int = 20_000) -> float:
    """Microseconds of CPU that making one tag takes."""
    key = ClaimKey(id="bench", secret=bytes(32))
    make: Callable[[], str] = lambda: key.tag(bytes(12), "authenticated", ALICE.payload_json)  # noqa: E731
    started = time.process_time()
    for _ in range(count):
        make()
    return (time.process_time() - started) / count * 1e6


async def main(rounds: int) -> None:
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            found = await measure(server, rounds)
        finally:
            await server.stop()
    print(f"{'us a query':20} {'sidecar CPU':>12} {'Postgres CPU':>13} {'together':>9} {'waited':>8}")
    for name in WAYS:
        here, there, waited = (statistics.median(column) for column in zip(*found[name], strict=True))
        print(f"{name:20} {here:12.0f} {there:13.0f} {here + there:9.0f} {waited:8.0f}")
    plain_kept, plain, signed_kept, signed = (
        statistics.median(sum(turn[:2]) for turn in found[name]) for name in WAYS
    )
    print(f"signed against plain: x{signed / plain:.2f}, plans kept x{signed_kept / plain_kept:.2f}")
    print(f"making a tag: {await tags():.1f} us of CPU")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
