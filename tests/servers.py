"""The PostgreSQL servers and databases of a test run."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from sidecar.core.sealing import new_key
from sidecar.embedded.binaries import DEFAULT_VERSION, INSTALLS, Binaries, find
from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer, key_installer

T = TypeVar("T")

LOGINS = "usher_test"
KEY_LOGIN = "usher_test_key_store"
COUNT = 24
"""More than the sidecars that run at once have connections."""
PASSWORD = "of-all-test-logins"

DEBIAN = Path("/usr/lib/postgresql/15/bin")
VERSIONS = tuple(sorted({*INSTALLS, *({15} if (DEBIAN / "postgres").exists() else ())}))
"""The major versions that can be had here."""


def binaries(version: int) -> Binaries:
    """The programs of one of VERSIONS."""
    return find(version) if version in INSTALLS else Binaries(version=version, folder=DEBIAN)


def temporary_folder() -> Path:
    """A folder of ours that the account of root's server may enter too."""
    if os.geteuid() != 0:
        return Path(tempfile.mkdtemp(prefix="usher-test-"))
    # The usual temporary folder may be root's alone.
    folder = Path(tempfile.mkdtemp(prefix="usher-test-", dir="/var/tmp"))
    folder.chmod(0o711)
    return folder


class Servers:
    """One server for each version, started when it is first asked for, and stopped by `close`."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._servers: dict[int, EmbeddedPostgres] = {}
        self._administrators: dict[int, asyncpg.Connection] = {}
        self._folders: list[Path] = []
        self._numbers = itertools.count(1)

    def __getitem__(self, version: int) -> EmbeddedPostgres:
        if version not in self._servers:
            folder = temporary_folder()
            server = EmbeddedPostgres(folder, binaries=binaries(version), fsync=False)
            self._folders.append(folder)
            self._runner.run(server.start())
            self._servers[version] = server
            self._administrators[version] = self._runner.run(asyncpg.connect(server.superuser_dsn()))
        return self._servers[version]

    @contextmanager
    def database(self, version: int = DEFAULT_VERSION) -> Iterator[str]:
        """The superuser's address of a new, empty database, which is dropped in the end."""
        server = self[version]
        name = f"test_{next(self._numbers)}"
        # Copying files is three times as quick as logging them, for a server that does not wait for the disk.
        self._execute(version, f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        try:
            yield server.superuser_dsn(name)
        finally:
            self._execute(version, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def install_demo(self, dsn: str) -> dict[str, str]:
        """Installs the SQL side and the demo; returns the settings of a sidecar on it."""
        return self.run(_install_demo(dsn))

    def install_key_store(self, dsn: str) -> dict[str, str]:
        """Installs a key store; returns the settings of a sidecar that uses it."""
        return self.run(_install_key_store(dsn))

    def execute(self, dsn: str, script: str) -> None:
        """Runs a script."""
        self.run(_execute(dsn, script))

    def value(self, sql: str, version: int = DEFAULT_VERSION) -> Any:
        """The first value of a query by the superuser."""
        self[version]
        return self.run(self._administrators[version].fetchval(sql))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the loop that these servers belong to."""
        return self._runner.run(work)

    @contextmanager
    def spare(self, version: int = DEFAULT_VERSION) -> Iterator[EmbeddedPostgres]:
        """A server of its own, for a test that stops it."""
        folder = temporary_folder()
        server = EmbeddedPostgres(folder, binaries=binaries(version), fsync=False)
        self.run(server.start())
        try:
            yield server
        finally:
            self.run(server.stop())
            shutil.rmtree(server.home, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Stops all servers and removes their files."""
        for version, server in self._servers.items():
            self._runner.run(self._administrators[version].close())
            self._runner.run(server.stop())
            shutil.rmtree(server.home)
        self._runner.close()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _execute(self, version: int, sql: str) -> None:
        self._runner.run(self._administrators[version].execute(sql))


async def _execute(dsn: str, script: str) -> None:
    connection = await installer.connect(dsn)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _install_key_store(dsn: str) -> dict[str, str]:
    connection = await installer.connect(dsn)
    try:
        await key_installer.install(connection)
        password = await key_installer.make_login(connection, KEY_LOGIN, key_installer.SIDECAR)
    finally:
        await connection.close()
    return {
        "key_store": "postgres",
        "key_store_url": re.sub(r"//[^@]*@", f"//{KEY_LOGIN}:{password}@", dsn),
        "key_encryption_key": new_key(),
    }


async def _install_demo(dsn: str) -> dict[str, str]:
    connection = await installer.connect(dsn)
    try:
        await installer.install(connection)
        await installer.make_logins(connection, LOGINS, COUNT, password=PASSWORD)
        await connection.execute(installer.demo_script())
        key = await installer.add_key(connection)
    finally:
        await connection.close()
    return {
        "database_url": re.sub(r"//[^@]*@", f"//{LOGINS}:{PASSWORD}@", dsn),
        "database_logins": str(COUNT),
        "claim_key": key,
    }
