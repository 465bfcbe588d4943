"""`usher dev`: a sidecar on an embedded PostgreSQL that holds the demo."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.config import Config
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer

DATABASE: Final = "usher"
LOGINS: Final = "usher_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a sidecar needs to use the demo's database."""

    url: str
    logins: int
    claim_key: str
    ended: Callable[[], Awaitable[str]]
    """Returns when PostgreSQL has ended by itself: what is to be said then."""


@contextlib.asynccontextmanager
async def database(config: Config, say: Callable[[str], None]) -> AsyncIterator[Made]:
    """Runs the embedded PostgreSQL with the demo in it for the time of the block.

    Raises SettingsError when it cannot start.
    """
    postgres = EmbeddedPostgres(Path(config.dev_data_dir), port=config.dev_postgres_port, say=say)
    await postgres.start()
    try:
        # A session that has just ended keeps its login for a moment.
        logins = config.pool_max_size + config.workers + 1
        key = await _fill(postgres, logins)
        yield Made(url=postgres.dsn(LOGINS, DATABASE), logins=logins, claim_key=key, ended=postgres.ended)
    finally:
        await postgres.stop()


async def _fill(postgres: EmbeddedPostgres, logins: int) -> str:
    """Database, SQL side, logins and demo, and a fresh key for claims: this sidecar is the only one."""
    connection = await installer.connect(postgres.superuser_dsn("postgres"))
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
    connection = await installer.connect(postgres.superuser_dsn(DATABASE))
    try:
        await installer.install(connection)
        await installer.make_logins(connection, LOGINS, logins, password=postgres.password(LOGINS))
        await connection.execute(installer.demo_script())
        for key_id, _ in await installer.keys(connection):
            await installer.remove_key(connection, key_id)
        return await installer.add_key(connection)
    finally:
        await connection.close()
