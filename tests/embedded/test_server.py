from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from sidecar.core.errors import SettingsError
from sidecar.embedded import binaries
from sidecar.embedded.cluster import PidFile
from sidecar.embedded.folder import HOST, open_lock, try_lock
from sidecar.embedded.place import LINK
from sidecar.embedded.server import EmbeddedPostgres
from tests.servers import VERSIONS
from tests.servers import binaries as binaries_of

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 20.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")

OWNER = """
import asyncio, sys
from pathlib import Path
from sidecar.embedded.server import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
    await server.start()
    print(server.superuser_dsn(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def make(data_dir: Path, port: int = 0, **options: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, port, fsync=False, **options)  # type: ignore[arg-type]


async def execute(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def postmaster(home: Path, version: int = binaries.DEFAULT_VERSION) -> int:
    found = PidFile.read(home / f"pg{version}" / "postmaster.pid")
    assert found is not None
    return found.pid


def parent_of(pid: int) -> int:
    listed = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(listed.stdout)


def assert_nothing_runs(home: Path) -> None:
    """The guard, the server and each of its processes hold this lock; the last to end frees it."""
    if not home.exists():
        return
    lock = open_lock(home / "server.lock")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not try_lock(lock):
        assert time.monotonic() < deadline, f"a server still runs in {home}"
        time.sleep(0.02)
    os.close(lock)


@contextmanager
def owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds a server, and the address of that."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("version", VERSIONS)
async def test_data_passwords_and_port_survive_a_restart(data_dir: Path, version: int) -> None:
    said: list[str] = []
    server = make(data_dir, binaries=binaries_of(version), say=said.append)
    await server.start()
    dsn = server.superuser_dsn("postgres")
    await execute(dsn, "CREATE TABLE kept AS SELECT 17 AS n")
    assert int(str(await execute(dsn, "SHOW server_version_num"))) // 10_000 == version
    await server.stop()
    assert_nothing_runs(server.home)

    await server.start()
    assert await execute(dsn, "SELECT n FROM kept") == 17
    await server.stop()
    await server.stop()
    again = make(data_dir, binaries=binaries_of(version), say=said.append)
    await again.start()
    assert again.superuser_dsn() == dsn
    assert await execute(dsn, "SELECT n FROM kept") == 17
    await again.stop()
    assert [line for line in said if "making" in line] == [f"making a PostgreSQL in {server.home}"]


async def test_only_the_password_opens_it(postgres_server: EmbeddedPostgres) -> None:
    for password in ("wrong", ""):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.PostgresError)) as raised:
            await asyncpg.connect(
                host=HOST, port=postgres_server.port, user="postgres", database="postgres", password=password
            )
        assert raised.value.sqlstate.startswith("28"), password
    rules = "SELECT string_agg(DISTINCT auth_method, ',' ORDER BY auth_method) FROM pg_hba_file_rules"
    assert await execute(postgres_server.superuser_dsn(), rules) == "reject,scram-sha-256"


async def test_it_listens_on_this_machine_alone(postgres_server: EmbeddedPostgres) -> None:
    dsn = postgres_server.superuser_dsn()
    assert await execute(dsn, "SHOW listen_addresses") == HOST
    assert await execute(dsn, "SHOW unix_socket_directories") == ""


async def test_a_role_logs_in_with_its_password(postgres_server: EmbeddedPostgres) -> None:
    role, superuser = "a role/@", postgres_server.superuser_dsn()
    password = postgres_server.password(role)
    assert password != postgres_server.password("postgres")
    await execute(superuser, f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
    try:
        assert await execute(postgres_server.dsn(role, "postgres"), "SELECT current_user") == role
    finally:
        await execute(superuser, f'DROP ROLE "{role}"')


async def test_neither_statements_nor_values_that_fail_are_logged(postgres_server: EmbeddedPostgres) -> None:
    for sql in ("SELECT 's3cret'::int", "SELECT s3cret", "DO $$ BEGIN RAISE WARNING 's3cret'; END $$"):
        connection = await asyncpg.connect(postgres_server.superuser_dsn())
        try:
            await connection.execute(sql)
        except asyncpg.PostgresError:
            pass
        finally:
            await connection.close()
    assert "s3cret" not in postgres_server.log.read_text()
    assert "ready to accept connections" in postgres_server.log.read_text()


async def test_the_terminal_does_not_reach_it(postgres_server: EmbeddedPostgres) -> None:
    assert os.getsid(postmaster(postgres_server.home)) != os.getsid(0)


async def test_when_its_owner_is_killed_nothing_stays_behind(data_dir: Path) -> None:
    with owner(data_dir) as (process, dsn):
        await execute(dsn, "CREATE TABLE kept AS SELECT 17 AS n")
        process.kill()
    home = (data_dir / LINK).readlink() if (data_dir / LINK).is_symlink() else data_dir
    assert_nothing_runs(home)
    server = make(data_dir)
    await server.start()
    assert await execute(dsn, "SELECT n FROM kept") == 17
    await server.stop()
    assert "automatic recovery" not in server.log.read_text()


async def test_a_restart_does_not_wait_for_the_one_that_was_killed(data_dir: Path) -> None:
    with owner(data_dir) as (process, dsn):
        connection = await asyncpg.connect(dsn)
        process.kill()
    server = make(data_dir)
    await server.start()
    assert await execute(server.superuser_dsn(), "SELECT 1") == 1
    await server.stop()
    connection.terminate()


async def test_a_server_whose_guard_was_killed_is_stopped(data_dir: Path) -> None:
    server = make(data_dir)
    await server.start()
    assert server._guard is not None
    server._guard.kill()
    server._guard.wait()
    assert await execute(server.superuser_dsn(), "SELECT 1") == 1
    await server.stop()
    assert_nothing_runs(server.home)


async def test_a_server_without_guard_and_owner_is_stopped_at_the_next_start(data_dir: Path) -> None:
    with owner(data_dir) as (process, dsn):
        await execute(dsn, "CREATE TABLE kept AS SELECT 17 AS n")
        home = (data_dir / LINK).readlink() if (data_dir / LINK).is_symlink() else data_dir
        first = postmaster(home)
        guard = parent_of(first)
        # Stopped, the guard cannot act on the death of the owner before it is killed itself.
        os.kill(guard, signal.SIGSTOP)
        process.kill()
        os.kill(guard, signal.SIGKILL)
    server = make(data_dir)
    await server.start()
    assert postmaster(server.home) != first
    assert await execute(server.superuser_dsn(), "SELECT n FROM kept") == 17
    await server.stop()


async def test_a_second_owner_is_refused(data_dir: Path) -> None:
    with owner(data_dir) as (process, dsn):
        with pytest.raises(SettingsError, match=f"in use by another usher .process {process.pid}"):
            await make(data_dir).start()
        assert await execute(dsn, "SELECT 1") == 1


async def test_a_folder_that_cannot_be_written_is_named() -> None:
    below_a_file = Path(__file__) / "data"
    with pytest.raises(
        SettingsError, match=f"dev_data_dir: {re.escape(str(below_a_file))} cannot be written"
    ):
        await make(below_a_file).start()


async def test_a_port_that_is_taken_is_named(data_dir: Path, postgres_server: EmbeddedPostgres) -> None:
    server = make(data_dir, postgres_server.port)
    with pytest.raises(SettingsError, match=f"dev_postgres_port: port {postgres_server.port} is taken"):
        await server.start()
    # The folder is free again, and the server starts where it may.
    free = make(data_dir)
    await free.start()
    await free.stop()
    chosen = make(data_dir, free.port)
    await chosen.start()
    assert chosen.port == free.port
    await chosen.stop()


async def test_a_start_that_fails_shows_the_end_of_the_log(data_dir: Path) -> None:
    server = make(data_dir)
    await server.start()
    await server.stop()
    configuration = server.home / f"pg{binaries.DEFAULT_VERSION}" / "postgresql.conf"
    kept = configuration.read_text()
    configuration.write_text("no_such_setting = 1\n")
    with pytest.raises(SettingsError, match="did not start") as raised:
        await server.start()
    assert 'unrecognized configuration parameter "no_such_setting"' in str(raised.value)
    assert str(server.log) in str(raised.value)
    configuration.write_text(kept)
    await server.start()
    await server.stop()


@pytest.mark.parametrize("seconds", [0.2, 0.8])
async def test_a_start_that_is_cancelled_leaves_nothing(data_dir: Path, seconds: float) -> None:
    server = make(data_dir)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.start(), seconds)
    assert_nothing_runs(server.home)
    await server.start()
    await server.stop()


async def test_a_set_up_that_was_cut_short_is_begun_anew(data_dir: Path) -> None:
    half = data_dir / f"pg{binaries.DEFAULT_VERSION}.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").touch()
    (data_dir / "initdb-password").touch()
    server = make(data_dir)
    await server.start()
    await server.stop()
    assert not half.exists()
    assert not (data_dir / "initdb-password").exists()


async def test_a_lost_password_is_an_error_and_not_a_lost_database(data_dir: Path) -> None:
    server = make(data_dir)
    await server.start()
    await server.stop()
    passwords = (data_dir / "passwords.json").rename(data_dir / "aside")
    with pytest.raises(SettingsError, match=r"password of the database in .* is lost; remove the folder"):
        await server.start()
    passwords.rename(data_dir / "passwords.json")
    await server.start()
    await server.stop()


@as_root
async def test_root_can_use_folders_that_no_other_account_may_enter(closed_data_dir: Path) -> None:
    said: list[str] = []
    closed = binaries.copy(binaries.find(), closed_data_dir.parent / "wheel")
    server = make(closed_data_dir, binaries=closed, say=said.append)
    await server.start()
    assert await execute(server.superuser_dsn(), "CREATE TABLE kept AS SELECT 17 AS n") is None
    await server.stop()
    assert server.home == (closed_data_dir / LINK).readlink() != closed_data_dir
    assert any("programs" in line for line in said)

    await server.start()
    assert await execute(server.superuser_dsn(), "SELECT n FROM kept") == 17
    await server.stop()

    # A data folder that is removed means a new database.
    shutil.rmtree(closed_data_dir)
    await server.start()
    assert await execute(server.superuser_dsn(), "SELECT to_regclass('kept')") is None
    await server.stop()
