"""What the deny list costs a call and a query, and how fast an entry reaches another sidecar.

Usage: python -m bench.revocation_cost [ROUNDS]. On an embedded PostgreSQL: the look into memory; a query of
one row whose policy asks usher.not_revoked() beside one whose policy does not, in turns; a reading of the
list; and two `usher serve`, one that revokes and one that is asked until it refuses.
docs/adr/0010-revocation.md has the figures. Linux: the CPU of a backend is read from /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path

import grpc
import jwt
from usher.v1 import revocation_service_pb2, token_service_pb2

from bench.claims_cost import PASSWORD, fill, folder, opened, place_of, turn
from sidecar.core.clock import SystemClock
from sidecar.core.deny_list import By
from sidecar.core.events import ignore
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Addition, Revocations, RevocationSettings
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.signed_claims import ClaimSettings, SignedClaimsBackend
from tests.processes import Process, running
from tests.system.clients import Client, connected

QUERIES = 300
MANY = 10_000
TRIES = 100
WAYS = ("policy without", "policy that asks", f"policy that asks, {MANY} entries")
_ASKING = """
DROP POLICY users_read ON users;
CREATE POLICY users_read ON users FOR SELECT TO authenticated
  USING ((SELECT usher.not_revoked()) AND (SELECT auth.user_id()) = id);
"""
_FILL = f"""
INSERT INTO usher.revocation
SELECT 'jti', gen_random_uuid(), NULL, now(), now() + interval '1 d' FROM generate_series(1, {MANY});
ANALYZE usher.revocation;
"""
_KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'usher revocations'"


async def looking(entries: int, count: int = 200_000) -> float:
    """Microseconds of CPU of one look into memory that finds nothing."""
    clock = SystemClock()
    store = MemoryRevocations(clock)
    for number in range(entries):
        store._entries[By.JTI, f"id-{number}"] = (
            await MemoryRevocations(clock).add(Addition(by=By.JTI, value=f"id-{number}", seconds=86_400))
        )[0]
    revocations = Revocations(store, RevocationSettings(least=3720), clock, ignore)
    await revocations.refresh()
    started = time.process_time()
    for _ in range(count):
        revocations.check(path="token", jti="bench", subject="alice", kid="key", issued_at=0)
    return (time.process_time() - started) / count * 1e6


async def script(server: EmbeddedPostgres, name: str, text: str) -> None:
    admin = await installer.connect(server.superuser_dsn(name))
    await admin.execute(text)
    await admin.close()


async def asking(server: EmbeddedPostgres, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Microseconds a query by WAYS: CPU here, CPU of the backend, time waited."""
    databases = dict(zip(WAYS, ("without", "asks", "asks_many"), strict=True))
    keys: dict[str, ClaimKey] = {}
    for name, database in databases.items():
        keys[name] = ClaimKey.parse(await fill(server, database, up_to=3))
        if database != "without":
            await script(server, database, _ASKING)
        if database == "asks_many":
            await script(server, database, _FILL)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for number in range(rounds):
        for name in WAYS[number % 3 :] + WAYS[: number % 3]:
            async with opened(place_of(server, databases[name])) as chosen:
                async with chosen.lease() as connection:
                    pid = connection.get_server_pid()
                backend = SignedClaimsBackend(chosen, ClaimSettings(), CurrentKey(keys[name]))
                await turn(backend, chosen, pid, 30)  # warms up
                found[name].append(await turn(backend, chosen, pid, QUERIES))
    await reading(server, keys[WAYS[2]])
    return found


async def reading(server: EmbeddedPostgres, key: ClaimKey) -> None:
    """Prints what one reading of a long list takes."""
    host = server.superuser_dsn("asks_many").rpartition("@")[2]
    settings = PoolSettings(database_url=f"postgresql://bench:{PASSWORD}@{host}", logins=2)
    store = PostgresRevocations(settings, CurrentKey(key), SystemClock())
    await store.read()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(20):
        assert len(await store.read()) == MANY
    waited, cpu = (time.perf_counter() - started) / 20 * 1e3, (time.process_time() - cpu) / 20 * 1e3
    await store.close()
    print(f"a reading of {MANY} entries: {waited:.1f} ms, {cpu:.1f} ms of them CPU here")


def refused(client: Client, token: str) -> bool:
    try:
        client.tokens.VerifyToken(token_service_pb2.VerifyTokenRequest(token=token), timeout=10)
    except grpc.RpcError:
        return True
    return False


def reach(server: EmbeddedPostgres, key: str, place: Path) -> None:
    """Prints how long an entry takes from one sidecar to another."""
    host = server.superuser_dsn("reach").rpartition("@")[2]
    settings = {
        "database_url": f"postgresql://bench:{PASSWORD}@{host}",
        "database_logins": "16",
        "claim_key": key,
        "pool_max_size": "4",
    }
    with contextlib.ExitStack() as stack:
        sockets = [f"unix:{place}/{name}.sock" for name in "ab"]
        processes: list[Process] = [
            stack.enter_context(running("serve", **settings, grpc_admin_address=socket)) for socket in sockets
        ]
        for process in processes:
            process.wait_for("ready")
        admin = stack.enter_context(connected(sockets[0]))
        other = stack.enter_context(connected(processes[1].grpc_address))
        times: dict[str, list[float]] = {"heard": [], "connections killed just before": []}
        for name, found in times.items():
            for number in range(TRIES if name == "heard" else TRIES // 5):
                time.sleep(0.1)
                token = other.issue(f"user-{number}", {})
                jti = jwt.decode(token, options={"verify_signature": False})["jti"]
                assert not refused(other, token)
                if name != "heard":
                    asyncio.run(script(server, "reach", _KILL))
                sent = time.perf_counter()
                admin.revocations.RevokeTokens(
                    revocation_service_pb2.RevokeTokensRequest(
                        revoked=revocation_service_pb2.Revoked(jti=jti)
                    ),
                    timeout=10,
                )
                while not refused(other, token):
                    pass
                found.append((time.perf_counter() - sent) * 1e3)
        for name, found in times.items():
            print(f"from the call to a refusal at the other, {name}: {_spread(found)} ms")


def _spread(found: list[float]) -> str:
    ordered = sorted(found)
    last = ordered[-(-99 * len(ordered) // 100) - 1]
    return (
        f"median {statistics.median(ordered):.1f}, p99 {last:.1f}, most {ordered[-1]:.1f} of {len(ordered)}"
    )


async def main(rounds: int) -> None:
    for entries in (0, MANY):
        print(f"a look into memory, {entries} entries: {await looking(entries):.2f} us")
    with folder() as place:
        server = EmbeddedPostgres(place, fsync=False)
        await server.start()
        try:
            found = await asking(server, rounds)
            key = await fill(server, "reach", up_to=3)
            admin = await installer.connect(server.superuser_dsn("reach"))
            await installer.make_logins(admin, "bench", 16, password=PASSWORD)
            await admin.close()
            await asyncio.to_thread(reach, server, key, place)
        finally:
            await server.stop()
    print(f"{'us a query':40} {'sidecar CPU':>12} {'Postgres CPU':>13} {'waited':>8}")
    for name in WAYS:
        here, there, waited = (statistics.median(column) for column in zip(*found[name], strict=True))
        print(f"{name:40} {here:12.0f} {there:13.0f} {waited:8.0f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
