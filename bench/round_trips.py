"""What fewer round trips save: latency near and far, CPU of the sidecar and of Postgres.

Usage: python bench/round_trips.py [ROUNDS [LOOP]]. On an embedded PostgreSQL, one connection, one caller who
asks for ten rows of six columns under a policy. Three ways take turns in each round, and medians of the
rounds are shown. LOOP is as the setting event_loop.

- one at a time: every statement waits for the one before, as it was before docs/adr/0014-round-trips.md;
- bound to the transaction: what replicas, poolers and databases before step 4 get;
- bound to the session: what else is served.

Each with a read-only query, with one that might write, and with an insert. Linux: /proc tells Postgres' CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from claims_cost import ALICE, PASSWORD, backend_cpu, folder, opened

from sidecar.app.event_loop import run
from sidecar.core.issuer import Scope
from sidecar.core.queries import Statement
from sidecar.core.values import ResultSet
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer
from sidecar.postgres.claim_key import BINDING, ClaimKey, CurrentKey
from sidecar.postgres.codecs import prepare
from sidecar.postgres.parameters import bind
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings
from sidecar.postgres.signed_claims import SignedClaimsBackend, _enter
from sidecar.postgres.values import columnar

NEAR, FAR = 300, 25
"""Queries in one turn."""
ONE_WAY: Final = 0.005
WAYS: Final = ("one at a time", "bound to the transaction", "bound to the session")
TABLES = """
CREATE TABLE items (
  id int PRIMARY KEY, tenant_id text NOT NULL,
  name text, code uuid, made timestamptz, price numeric, extra jsonb);
INSERT INTO items SELECT n, 'acme', 'item ' || n, gen_random_uuid(), now(), n / 7.0, '{"a": 1}'
FROM generate_series(1, 1000) AS n;
CREATE TABLE marks (n int);
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON items TO authenticated USING (tenant_id = (SELECT auth.session() ->> 'tenant_id'));
GRANT SELECT ON items TO authenticated;
GRANT INSERT ON marks TO authenticated;
"""
SELECT: Final = "SELECT id, name, code, made, price, extra FROM items ORDER BY id LIMIT 10"


def statement(sql: str, verb: str, *, read_only: bool) -> Statement:
    return Statement(sql=sql, verb=verb, parameters=(), read_only=read_only, timeout=30.0, max_rows=1000)


STATEMENTS: Final = {
    "read only": statement(SELECT, "SELECT", read_only=True),
    "select": statement(SELECT, "SELECT", read_only=False),
    "insert": statement("INSERT INTO marks VALUES (1)", "INSERT", read_only=False),
}


class OneAtATime(SignedClaimsBackend):
    """As it was: five round trips for what is known, each waited for."""

    async def run(self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Any]) -> Any:
        async with self._pool.lease() as connection:
            role, claims = self._settings.role, scope.payload_json
            await connection.execute("BEGIN READ ONLY" if statement.read_only else "BEGIN")
            binding = await connection.fetchval(BINDING)
            step = _enter(self._key.key.tag(binding, role, claims), role, claims, statement.timeout)
            await connection.fetchrow(step.sql, *step.arguments)
            prepared = await prepare(connection, statement.sql)
            arguments = bind(prepared.parameter_types, statement.parameters)
            records, _, _ = await connection._protocol.bind_execute(
                prepared.statement._state, arguments, "usher_result", 128, True, None
            )
            result = ResultSet(
                columns=prepared.columns,
                data=columnar(prepared, records or []),
                row_count=len(records or []),
                truncated=False,
                command_tag="",
                affected_rows=0,
            )
            sealed = seal(result)
            await connection.execute("COMMIT")
            return sealed, result


async def fill(server: EmbeddedPostgres, name: str, up_to: int | None) -> ClaimKey:
    admin = await installer.connect(server.superuser_dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    admin = await installer.connect(server.superuser_dsn(name))
    await installer.install(admin, up_to=up_to)
    await admin.execute(TABLES)
    await installer.make_logins(admin, "bench", 2, password=PASSWORD)
    key = await installer.add_key(admin)
    await admin.close()
    return ClaimKey.parse(key)


@contextlib.contextmanager
def at_distance(address: str) -> Iterator[str]:
    """The same server, ONE_WAY seconds away."""
    server = urlsplit(f"//{address}")
    command = [sys.executable, str(Path(__file__).with_name("distance.py"))]
    with subprocess.Popen(
        [*command, str(server.hostname), str(server.port), str(ONE_WAY)], stdout=subprocess.PIPE, text=True
    ) as proxy:
        assert proxy.stdout is not None
        try:
            yield f"127.0.0.1:{proxy.stdout.readline().strip()}"
        finally:
            proxy.kill()


async def turn(backend: SignedClaimsBackend, chosen: Pool, asked: Statement, count: int) -> tuple[float, ...]:
    """Microseconds a query: CPU here, CPU of the backend, time waited. The scrub is in both CPUs."""
    async with chosen.lease() as connection:
        pid = connection.get_server_pid()
    for _ in range(10):
        await backend.run(ALICE, asked, lambda result: None)
    await asyncio.gather(*chosen._returning)
    here, there, waited = time.process_time(), backend_cpu(pid), 0.0
    for _ in range(count):
        started = time.perf_counter()
        _, result = await backend.run(ALICE, asked, lambda result: None)
        waited += time.perf_counter() - started
        assert result.row_count == (10 if asked.verb == "SELECT" else 0)
        await asyncio.gather(*chosen._returning)
    here, there = time.process_time() - here, backend_cpu(pid) - there
    return tuple(seconds / count * 1e6 for seconds in (here, there, waited))


async def bare(address: str, count: int) -> tuple[float, ...]:
    """The same rows by asyncpg alone: no scope, no reset."""
    name = "numbered"
    connection = await asyncpg.connect(f"postgresql://bench_1:{PASSWORD}@{address}/{name}")
    await connection.execute("SET ROLE authenticated")
    pid = connection.get_server_pid()
    sql = "SELECT n, n::text, gen_random_uuid(), now(), n / 7.0, '{}'::jsonb FROM generate_series(1, 10) AS n"
    for _ in range(10):
        await connection.fetch(sql)
    here, there, waited = time.process_time(), backend_cpu(pid), time.perf_counter()
    for _ in range(count):
        await connection.fetch(sql)
    waited = time.perf_counter() - waited
    here, there = time.process_time() - here, backend_cpu(pid) - there
    await connection.close()
    return tuple(seconds / count * 1e6 for seconds in (here, there, waited))


async def measure(
    server: EmbeddedPostgres, rounds: int
) -> dict[tuple[str, str, str], list[tuple[float, ...]]]:
    keys = {"plain": await fill(server, "plain", 3), "numbered": await fill(server, "numbered", None)}
    near = server.superuser_dsn("plain").rpartition("@")[2].partition("/")[0]
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    with at_distance(near) as far:
        for number in range(rounds):
            for where, address, count in (("near", near, NEAR), ("far", far, FAR)):
                for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                    database = "numbered" if way == WAYS[2] else "plain"
                    kind = OneAtATime if way == WAYS[0] else SignedClaimsBackend
                    async with opened(f"{address}/{database}") as chosen:
                        backend = kind(chosen, ClaimSettings(), CurrentKey(keys[database]))
                        for name, asked in STATEMENTS.items():
                            seen = await turn(backend, chosen, asked, count)
                            found.setdefault((where, name, way), []).append(seen)
                found.setdefault((where, "select", "bare asyncpg"), []).append(await bare(address, count))
    return found


async def main(rounds: int) -> None:
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            found = await measure(server, rounds)
        finally:
            await server.stop()
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    print(f"{loop}, {rounds} rounds; far: {ONE_WAY * 1000:g} ms each way")
    heads = ("sidecar CPU", "Postgres CPU", "near waited", "far waited")
    print(f"{'us a query':37} " + " ".join(f"{head:>12}" for head in heads))
    for name in STATEMENTS:
        for way in (*WAYS, "bare asyncpg"):
            if ("near", name, way) not in found:
                continue
            here, there, waited = (
                statistics.median(column) for column in zip(*found["near", name, way], strict=True)
            )
            far = statistics.median(seen[2] for seen in found["far", name, way])
            print(f"{name:10} {way:26} {here:12.0f} {there:12.0f} {waited:12.0f} {far:12.0f}")


if __name__ == "__main__":
    rounds, loop = (*sys.argv[1:], *("5", "auto")[len(sys.argv) - 1 :])
    run(main(int(rounds)), loop)
