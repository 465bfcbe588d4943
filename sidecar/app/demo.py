"""`usher dev`: a sidecar on an embedded PostgreSQL that holds the demo."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from sidecar.config import Config
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer

DATABASE: Final = "usher"
LOGIN: Final = "usher_app"


@contextlib.asynccontextmanager
async def database(config: Config, say: Callable[[str], None]) -> AsyncIterator[str]:
    """Runs the embedded PostgreSQL with the demo in it for the time of the block; gives the sidecar's URL.

    Raises SettingsError when it cannot start.
    """
    postgres = EmbeddedPostgres(Path(config.dev_data_dir), port=config.dev_postgres_port, say=say)
    await postgres.start()
    try:
        await _fill(postgres)
        yield postgres.dsn(LOGIN, DATABASE)
    finally:
        await postgres.stop()


async def _fill(postgres: EmbeddedPostgres) -> None:
    """Database, login, SQL side and demo; does nothing that is done already."""
    connection = await installer.connect(postgres.superuser_dsn("postgres"))
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", LOGIN):
            await connection.execute(f"CREATE ROLE {LOGIN}")
        # Utility statements take no parameters; the server quotes the password itself.
        alter = await connection.fetchval(
            "SELECT format('ALTER ROLE %I LOGIN NOINHERIT PASSWORD %L', $1::text, $2::text)",
            LOGIN,
            postgres.password(LOGIN),
        )
        await connection.execute(alter)
    finally:
        await connection.close()
    connection = await installer.connect(postgres.superuser_dsn(DATABASE))
    try:
        await installer.install(connection, LOGIN)
        await connection.execute(installer.demo_script())
    finally:
        await connection.close()
