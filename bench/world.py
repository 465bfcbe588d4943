"""The databases that all contestants ask: the same tables, rows and policies, with claims of three kinds."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import machine
from sidecar.embedded import server as embedded
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer

LOGINS: Final = 128
PASSWORD: Final = "of-the-bench"
SERVER_SETTINGS: Final = {"max_connections": "300", "shared_buffers": "128MB"}

BELIEVE: Final = """
CREATE OR REPLACE FUNCTION usher.claims() RETURNS pg_catalog.jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
AS $body$ SELECT nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb $body$
"""
"""Takes the check of tags away: what the guard costs shows by its absence."""

GUARDED, BELIEVING, PLAIN = "guarded", "believing", "plain"
"""As Usher installs it; the same without the check of tags; and as the guide has it, for everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running server with all databases."""

    server: EmbeddedPostgres
    keys: dict[str, str]
    """The claim key of each database that has one."""

    def usher(self, database: str, port: int = 0) -> dict[str, str]:
        """The settings of a sidecar; `port` stands in for the server's own."""
        return {
            "database_url": self.dsn("bench", database, port),
            "database_logins": str(LOGINS),
            "claim_key": self.keys[database],
        }

    def dsn(self, login: str, database: str, port: int = 0) -> str:
        """The address of a database for one of the bench's logins."""
        return f"postgresql://{login}:{PASSWORD}@127.0.0.1:{port or self.server.port}/{database}"

    def pids(self) -> list[int]:
        """All processes of Postgres."""
        (written,) = self.server.home.glob("pg*/postmaster.pid")
        return machine.family(int(written.read_text().split()[0]))


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[World]:
    """Starts the server, fills it, and takes all of it away again."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="usher-bench-") as name:
        os.chmod(name, 0o711)  # the server is another account where we are root
        embedded.SETTINGS.update(SERVER_SETTINGS)
        server = EmbeddedPostgres(Path(name), fsync=False)
        await server.start()
        try:
            keys = {
                GUARDED: await _fill(server, GUARDED),
                BELIEVING: await _fill(server, BELIEVING, BELIEVE),
            }
            await _fill(server, PLAIN, up_to=1)
            yield World(server=server, keys=keys)
        finally:
            await server.stop()


async def _fill(server: EmbeddedPostgres, name: str, script: str = "", up_to: int | None = None) -> str:
    admin = await installer.connect(server.superuser_dsn())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    admin = await installer.connect(server.superuser_dsn(name))
    try:
        await installer.install(admin, up_to=up_to)
        await admin.execute((Path(__file__).parent / "bench.sql").read_text())
        if up_to is not None:
            await _plain_login(admin)
            return ""
        await installer.make_logins(admin, "bench", LOGINS, password=PASSWORD)
        if script:
            await admin.execute(script)
        return str(await installer.add_key(admin))
    finally:
        await admin.close()


async def _plain_login(admin: Any) -> None:
    """`peer` is the login of the guide's stack; `owner` sees all rows, for the ceiling without a scope."""
    await admin.execute(
        f"CREATE ROLE peer LOGIN PASSWORD '{PASSWORD}'; GRANT authenticated TO peer;"
        f"CREATE ROLE owner LOGIN BYPASSRLS PASSWORD '{PASSWORD}';"
        "GRANT SELECT ON items TO owner"
    )


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
