"""Ceilings that need no server of ours: bare signing, bare asyncpg, and pgbench on the same statements.

What runs in this process is measured by its own CPU. python -m bench.ceilings asyncpg DSN OUTSTANDING SECONDS
is the process that asks Postgres by asyncpg alone.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench.loops import fast_loop
from bench.targets import POOL, ROOT, MissingError
from bench.world import PASSWORD, PLAIN, World
from sidecar.embedded.binaries import find

READ: Final = (
    "SELECT id, name, key, made_at, amount, extra FROM items WHERE tenant_id = 'acme' ORDER BY id LIMIT 10"
)
SCOPED: Final = """BEGIN READ ONLY;
SELECT set_config('role', 'authenticated', true),
  set_config('request.jwt.claims', '{"tenant_id": "acme"}', true);
SELECT id, name, key, made_at, amount, extra FROM items ORDER BY id LIMIT 10;
COMMIT;
"""
_AT_ONCE: Final = "\\startpipeline\n" + SCOPED + "\\endpipeline\n"


def signing(seconds: float) -> dict[str, float]:
    """Microseconds of CPU that PyJWT takes for one token of the bench's claims, by algorithm."""
    keys: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }
    now = int(time.time())
    claims = {
        "iss": "https://issuer.example",
        "sub": "user-4711",
        "iat": now,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
        "tenant_id": "acme",
        "role": "editor",
        "permissions": ["orders:read", "orders:write"],
    }
    found = {}
    for name, key in keys.items():
        sign = functools.partial(jwt.encode, claims, key, algorithm=name, headers={"kid": "k" * 43})
        found[name.lower()] = _cpu_of(sign, seconds)
    return found


def _cpu_of(work: Callable[[], object], seconds: float) -> float:
    started, count, until = time.process_time(), 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(20):
            work()
        count += 20
    return (time.process_time() - started) / count * 1e6


async def bare(dsn: str, outstanding: int, seconds: float) -> dict[str, float]:
    """Ten rows without a scope, by asyncpg alone: CPU microseconds, rate, and times in milliseconds."""
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(min(POOL, outstanding)):
        free.put_nowait(await asyncpg.connect(dsn))
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        while time.perf_counter() < until:
            begun = time.perf_counter()
            connection = await free.get()
            await connection.fetch(READ)
            free.put_nowait(connection)
            times.append(time.perf_counter() - begun)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(outstanding)))
    took = time.perf_counter() - began
    spent = time.process_time() - cpu
    while not free.empty():
        await free.get_nowait().close()
    times.sort()
    return {
        "cpu_us": spent / len(times) * 1e6,
        "rate": len(times) / took,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3,
    }


async def bare_process(world: World, outstanding: int, seconds: float, port: int = 0) -> dict[str, float]:
    """The same in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.ceilings", "asyncpg", world.dsn("owner", PLAIN, port)),
        *(str(outstanding), str(seconds)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), seconds * 5 + 60)
    found: dict[str, float] = json.loads(output)
    return found


def pgbench(world: World, folder: Path, seconds: float) -> dict[str, float]:
    """Transactions a second of the scoped read, by `pgbench -M prepared`. Raises MissingError."""
    own = find().folder / "pgbench"
    program = str(own) if own.exists() else shutil.which("pgbench")
    if program is None:
        raise MissingError("pgbench is not installed")
    found = {}
    for name, script in (("one by one", SCOPED), ("pipelined", _AT_ONCE), ("without scope", READ + ";\n")):
        path = folder / "pgbench.sql"
        path.write_text(script)
        for clients in (1, POOL):
            done = subprocess.run(
                [
                    *(program, "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-f", str(path)),
                    *("-T", str(max(1, round(seconds))), "-h", "127.0.0.1", "-p", str(world.server.port)),
                    *("-U", "peer" if name != "without scope" else "owner", PLAIN),
                ],
                env={"PGPASSWORD": PASSWORD},
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds * 10 + 60,
            )
            rate = re.search(r"tps = ([0-9.]+)", done.stdout)
            if rate is None:
                raise MissingError(f"pgbench failed: {done.stderr[-300:]}")
            found[f"{name}, {clients} connections"] = float(rate[1])
    return found


if __name__ == "__main__":
    with fast_loop() as runner:
        print(json.dumps(runner.run(bare(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))))
