"""What a query costs by each backend on a Postgres connection: signed claims, and tokens for pg_session_jwt.

Usage: python bench/backends_cost.py [ROUNDS]. On an embedded PostgreSQL, one connection, a query of one row
of two tables with a policy each; the backends take turns, and medians of the rounds are shown. The extension
is the tests' stand-in, which checks signatures in PL/pgSQL: what that takes is measured by itself, and no
figure of Postgres' CPU says anything of the real extension. The sidecar does the same for either.
Linux: the CPU of a backend is read from /proc.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
from claims_cost import ALICE, PASSWORD, backend_cpu, dsn_of, folder, opened, place_of, turn

from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.detection import DetectedBackend
from sidecar.postgres.scoped_backend import ClaimSettings
from sidecar.postgres.session_keys import SessionKey, with_session_key

QUERIES = 100
"""In one turn."""
WAYS = ("postgres", "pg_session_jwt", "unchecked")
"""The last is the second without a look at signatures: what is left when the check costs next to nothing."""
UNCHECKED = """
CREATE OR REPLACE FUNCTION stand_in.verifies(public_key bytea, message bytea, signature bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE AS 'SELECT true'
"""
SHOWN = {
    "pg_session_jwt": "pg_session_jwt (stand-in)",
    "unchecked": "the same, signatures unchecked",
}
STAND_IN = Path(__file__).parents[1] / "tests" / "session_jwt"
CHECK = "SELECT auth.user_id() FROM pg_catalog.set_config('pg_session_jwt.jwt', $1, false)"


async def fill(server: EmbeddedPostgres, name: str) -> ClaimKey:
    """A database with the demo, and with the extension where that is its name."""
    admin = await asyncpg.connect(server.superuser_dsn())
    await admin.execute(f"CREATE DATABASE of_{name}")
    await admin.close()
    admin = await installer.connect(server.superuser_dsn(f"of_{name}"))
    if name != "postgres":
        for script in ("ed25519.sql", "stand_in.sql"):
            await admin.execute((STAND_IN / script).read_text())
    if name == "unchecked":
        await admin.execute(UNCHECKED)
    await installer.install(admin)
    await installer.make_logins(admin, "bench", 2, password=PASSWORD)
    await admin.execute(installer.demo_script())
    await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
    key = ClaimKey.parse(await installer.add_key(admin))
    await admin.close()
    return key


async def measure(server: EmbeddedPostgres, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    keys = {name: await fill(server, name) for name in WAYS}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for number in range(rounds):
        for name in WAYS[number % 3 :] + WAYS[: number % 3]:
            place = place_of(server, f"of_{name}")
            opening = functools.partial(with_session_key, database_url=dsn_of(place), role="authenticated")
            async with opened(place, opening) as chosen:
                async with chosen.lease() as connection:
                    pid = connection.get_server_pid()
                backend: Any = DetectedBackend(chosen, ClaimSettings(), CurrentKey(keys[name]))
                await turn(backend, chosen, pid, 20)  # warms up
                assert backend.kind == ("postgres" if name == "postgres" else "pg_session_jwt")
                found[name].append(await turn(backend, chosen, pid, QUERIES))
    return found


async def stand_in_check(server: EmbeddedPostgres, count: int = 50) -> float:
    """Microseconds of Postgres' CPU that the stand-in takes to check a new token, beyond one it knows."""
    key = SessionKey()
    connection = await asyncpg.connect(
        server.superuser_dsn("of_pg_session_jwt"), server_settings={"options": key.option}
    )
    spent = []
    for known in (False, True):
        tokens = [key.token(ALICE, 0)[1] for _ in range(count)]
        tokens = tokens[-1:] * count if known else tokens
        if known:
            await connection.fetchval(CHECK, tokens[0])
        before = backend_cpu(connection.get_server_pid())
        for token in tokens:
            await connection.fetchval(CHECK, token)
        spent.append(backend_cpu(connection.get_server_pid()) - before)
    await connection.close()
    return (spent[0] - spent[1]) / count * 1e6


def signing(count: int = 5_000) -> float:
    """Microseconds of CPU that making one token takes."""
    key = SessionKey()
    started = time.process_time()
    for _ in range(count):
        key.token(ALICE, 0)
    return (time.process_time() - started) / count * 1e6


async def main(rounds: int) -> None:
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            found = await measure(server, rounds)
            check = await stand_in_check(server)
        finally:
            await server.stop()
    print(f"{'us a query':32} {'sidecar CPU':>12} {'Postgres CPU':>13} {'waited':>8}")
    for name in WAYS:
        here, there, waited = (statistics.median(column) for column in zip(*found[name], strict=True))
        print(f"{SHOWN.get(name, name):32} {here:12.0f} {there:13.0f} {waited:8.0f}")
    print(f"making a token: {signing():.0f} us of the sidecar's CPU")
    print(f"checking its signature in PL/pgSQL, by the stand-in alone: {check:.0f} us of Postgres' CPU")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
