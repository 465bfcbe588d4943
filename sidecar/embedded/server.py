"""A PostgreSQL server of one's own: started, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from sidecar.core.errors import SettingsError
from sidecar.embedded import guard, place
from sidecar.embedded.binaries import Binaries, find
from sidecar.embedded.cluster import SUPERUSER, Cluster, environment
from sidecar.embedded.folder import HOST, DataFolder

START_SECONDS: Final = 60.0
"""How long a server may take to start; after a crash it reads its log first."""
STOP_SECONDS: Final = 30.0
"""Longer than the guard's escalation takes."""
LOG_BYTES: Final = 4 * 1024**2
"""A log that is larger is begun anew at the next start."""
LOG_LINES: Final = 12
"""How much of the log the error of a failed start shows."""

SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "log_checkpoints": "off",
    # A statement that fails may be a tenant's: neither its text nor its values go to the log.
    "log_min_messages": "log",
}
"""Small, and reachable over TCP from this machine alone."""
NO_FSYNC: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For data that may be lost with the machine's power."""

_LOOK_SECONDS: Final = 0.25


def _unheard(_: str) -> None:
    return None


class EmbeddedPostgres:
    """A server whose files live in `data_dir`, or near it; see place.py.

    `port` 0 chooses a free one and keeps it for the next start. `binaries`: those of the wheel when None.
    `fsync` False is quicker, for data that may be lost. `say` is told what takes long or is unusual, from a
    thread of its own.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        binaries: Binaries | None = None,
        fsync: bool = True,
        say: Callable[[str], None] = _unheard,
    ) -> None:
        self._folder = DataFolder(data_dir)
        self._wanted_port = port
        self._binaries = binaries
        self._fsync = fsync
        self._say = say
        self._cluster: Cluster | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.port = port
        """Where it listens on 127.0.0.1; after `start`."""
        self.home = self._folder.path
        """The folder that holds the cluster; after `start`."""

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._folder.path / "postgres.log"

    async def start(self) -> None:
        """Returns when connections are taken. Raises SettingsError, and then nothing is left running."""
        starting = asyncio.create_task(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled; what it started must not stay.
            await asyncio.gather(starting, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends connections and the server, writes its data, and gives the folder free. May be repeated."""
        await asyncio.to_thread(self._stop)

    async def ended(self) -> str:
        """Returns when the server is no longer there: that, and the end of its log. After `start`."""
        begin = self.log.stat().st_size
        while self._guard is not None and self._guard.poll() is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_LOOK_SECONDS)
        return str(self._failure("PostgreSQL has ended", begin))

    def password(self, role: str) -> str:
        """The password kept for a role, made at random at the first call; after `start`.

        Giving it to the role in the database is the caller's part.
        """
        return self._folder.password(role)

    def dsn(self, role: str, database: str) -> str:
        """The address of a database for a role, its password included. Not for logs."""
        user, path = quote(role, safe=""), quote(database, safe="")
        return f"postgresql://{user}:{self.password(role)}@{HOST}:{self.port}/{path}"

    def superuser_dsn(self, database: str = "postgres") -> str:
        """The address of a database for the superuser. Not for logs."""
        return self.dsn(SUPERUSER, database)

    def _start(self) -> None:
        binaries = self._binaries or find()
        self._folder.open()
        try:
            settled = place.settle(self._folder.path, binaries, self._say)
            self.home = settled.home
            self._cluster = Cluster(settled)
            lock = self._cluster.lock()
            try:
                with self._open_log() as log:
                    begin = log.tell()
                    self._make_cluster(self._cluster, log, lock)
                    self.port = self._folder.port(self._wanted_port)
                    self._launch(settled, self._cluster, log, lock)
            finally:
                # The server has its own copy, and with it the lock.
                os.close(lock)
            self._await_ready(self._cluster, begin)
        except OSError as error:
            self._stop()
            raise SettingsError(
                f"dev_data_dir: PostgreSQL cannot be set up in {self.home}: {error}"
            ) from None
        except BaseException:
            self._stop()
            raise

    def _make_cluster(self, cluster: Cluster, log: IO[bytes], lock: int) -> None:
        if cluster.exists and not self._folder.has_password(SUPERUSER):
            if self.home == self._folder.path:
                raise SettingsError(
                    f"dev_data_dir: the password of the database in {self.home} is lost; remove the folder "
                    "to start anew"
                )
            # The data folder was removed, and with it the password; nobody can want what is left.
            cluster.remove()
        if not cluster.exists:
            self._say(f"making a PostgreSQL in {self.home}")
            begin = log.tell()
            if cluster.make(self.password(SUPERUSER), log=log, lock=lock, fsync=self._fsync) != 0:
                raise self._failure("initdb failed", begin)

    def _launch(self, settled: place.Place, cluster: Cluster, log: IO[bytes], lock: int) -> None:
        settings = SETTINGS | ({} if self._fsync else NO_FSYNC) | {"port": str(self.port)}
        command = [str(settled.binaries.program("postgres")), "-D", str(cluster.path)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._guard = subprocess.Popen(  # noqa: S603  the command is ours
            [
                *(sys.executable, "-I", "-S", os.path.abspath(guard.__file__)),
                str(settled.account or ""),
                str(lock),
                *command,
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            env=environment(),
            # The terminal's Ctrl-C is for us; we then stop the server in order.
            start_new_session=True,
        )

    def _await_ready(self, cluster: Cluster, begin: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not cluster.ready:
            if self._guard is None or self._guard.poll() is not None:
                raise self._failure("PostgreSQL did not start", begin)
            if time.monotonic() > deadline:
                raise self._failure(f"PostgreSQL did not start within {START_SECONDS:.0f} s", begin)
            time.sleep(0.01)

    def _stop(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            try:
                self._guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
            self._guard = None
        try:
            if self._cluster is not None and self._cluster.exists:
                # Free at once, unless the guard was killed and left its server to us.
                os.close(self._cluster.lock())
        finally:
            self._cluster = None
            self._folder.close()

    def _open_log(self) -> IO[bytes]:
        descriptor = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        log = open(descriptor, "ab")  # noqa: SIM115  closed by the caller
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return log

    def _failure(self, what: str, begin: int) -> SettingsError:
        with open(self.log, "rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
        return SettingsError("\n  ".join([f"{what}; the end of its log, {self.log}:", *lines]))
