"""The cluster: the files of one PostgreSQL, made once, and what an earlier server may have left there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from sidecar.core.errors import SettingsError
from sidecar.embedded.folder import HOST, open_lock, try_lock
from sidecar.embedded.place import Place, make_private

SUPERUSER: Final = "postgres"
LEFTOVER_SECONDS: Final = 30.0
"""How long a server that was left behind may take to stop."""
PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Environment variables that the server sees. No PG* one may change it, and it must not see our secrets."""


def environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs. Without a locale the server does not start on macOS."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What a server writes about itself into `postmaster.pid` (PostgreSQL, miscadmin.h)."""

    pid: int
    port: int
    socket_folder: str
    status: str

    @staticmethod
    def read(path: Path) -> PidFile | None:
        """None when there is none, or it is not complete."""
        try:
            lines = path.read_text().splitlines()
            return PidFile(
                pid=int(lines[0]), port=int(lines[3]), socket_folder=lines[4].strip(), status=lines[7].strip()
            )
        except (OSError, ValueError, IndexError):
            return None


class Cluster:
    """The files of one server, in `place.home`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.path = place.home / f"pg{place.binaries.version}"

    @property
    def exists(self) -> bool:
        """Whether `make` was done."""
        return self.path.is_dir()

    @property
    def ready(self) -> bool:
        """Whether a server says that it takes connections."""
        found = PidFile.read(self.path / "postmaster.pid")
        return found is not None and found.status == "ready"

    def make(self, password: str, *, log: IO[bytes], lock: int, fsync: bool) -> int:
        """Runs initdb; its exit status. Interrupted at any point, it leaves nothing that `exists`."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        make_private(fresh, self._place.account)
        secret = self._place.home / "initdb-password"
        secret.unlink(missing_ok=True)
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
            if self._place.account is not None:
                os.fchown(file.fileno(), self._place.account.uid, self._place.account.gid)
        try:
            status = self._run(
                "initdb",
                f"--pgdata={fresh}",
                f"--username={SUPERUSER}",
                f"--pwfile={secret}",
                "--auth-host=scram-sha-256",
                "--auth-local=reject",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                *(() if fsync else ("--no-sync",)),
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
            )
        finally:
            secret.unlink()
        if status == 0:
            fresh.rename(self.path)
        return status

    def lock(self) -> int:
        """The lock that a running server holds, taken; a server that was left behind is stopped first.

        Raises SettingsError when that one does not stop, or the cluster is another account's.
        """
        self._check_owner()
        lock = open_lock(self._place.home / "server.lock")
        try:
            self._take(lock)
            self._clear_pid_file()
        except BaseException:
            os.close(lock)
            raise
        return lock

    def remove(self) -> None:
        """Deletes all its files. Only with the lock, and no server running."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _check_owner(self) -> None:
        account = self._place.account
        ours = account.uid if account is not None else os.geteuid()
        if self.exists and self.path.stat().st_uid != ours:
            raise SettingsError(
                f"dev_data_dir: {self.path} was made by another user; start usher as that user, or choose "
                "another folder with --dev-data-dir"
            )

    def _take(self, lock: int) -> None:
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while not try_lock(lock):
            left = deadline - time.monotonic()
            if left < 0:
                raise SettingsError(
                    f"dev_data_dir: a PostgreSQL of an earlier run still uses {self.path} and does not stop; "
                    f"end it: its process is named in {self.path}/postmaster.pid"
                )
            # Its guard is at it already, as a rule; this is for a guard that was killed.
            mode = "fast" if left > LEFTOVER_SECONDS / 2 else "immediate"
            self._run("pg_ctl", "stop", f"--pgdata={self.path}", f"--mode={mode}", "--timeout=5")
            time.sleep(0.05)

    def _clear_pid_file(self) -> None:
        """With the lock in hand no server of ours runs: the file is stale, whatever process has its number.

        PostgreSQL clears it only when no process has that; after a reboot some other one may.
        """
        path = self.path / "postmaster.pid"
        found = PidFile.read(path)
        if found is not None and _runs(found.pid) and (found.socket_folder or _answers(found.port)):
            raise SettingsError(
                f"dev_data_dir: {self.path} is in use by a PostgreSQL that usher did not start (process "
                f"{found.pid}); stop it, or choose another folder with --dev-data-dir"
            )
        path.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str, **options: Any) -> int:
        account = self._place.account
        return subprocess.run(  # noqa: S603  programs and arguments are ours
            [str(self._place.binaries.program(program)), *arguments],
            check=False,
            cwd="/",
            env=environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            **({"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options),
            **(account.process if account is not None else {}),
        ).returncode


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
