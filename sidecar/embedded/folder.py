"""The data folder: who holds it, the passwords of its roles, and the port its server had."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Final

from sidecar.core.errors import SettingsError

HOST: Final = "127.0.0.1"
PORTS: Final = range(20_000, 32_000)
"""Below the ports that Linux (32768) and macOS (49152) give to outgoing connections, which could take one."""


class DataFolder:
    """A folder that one process holds at a time. `open` before any other use."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the folder when it is missing, and locks it. Raises SettingsError."""
        try:
            self._make()
            lock = open_lock(self.path / "lock")
        except OSError as error:
            raise SettingsError(
                f"dev_data_dir: {self.path} cannot be written ({error.strerror}); make it writable for this "
                "user, or choose another folder with --dev-data-dir"
            ) from None
        if not try_lock(lock):
            holder = os.pread(lock, 20, 0).decode()
            os.close(lock)
            raise SettingsError(
                f"dev_data_dir: {self.path} is in use by another usher (process {holder}); stop that one, or "
                "choose another folder with --dev-data-dir"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def close(self) -> None:
        """Lets another process have it. The kernel does the same when this process ends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def password(self, role: str) -> str:
        """The password kept for a role; a random one is made at the first call."""
        passwords = self._passwords()
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(24)
            self._replace("passwords.json", json.dumps(passwords, indent=1))
        return passwords[role]

    def has_password(self, role: str) -> bool:
        """Whether one is kept."""
        return role in self._passwords()

    def port(self, wanted: int) -> int:
        """A free port: `wanted`, or for 0 the one it was last time, or any. Raises SettingsError."""
        if wanted:
            if not is_free(wanted):
                raise SettingsError(
                    f"dev_postgres_port: port {wanted} is taken by another process; choose another with "
                    "--dev-postgres-port, or 0 for a free one"
                )
            return wanted
        try:
            last = int((self.path / "port").read_text())
        except (OSError, ValueError):
            last = 0
        if last not in PORTS or not is_free(last):
            last = secrets.choice(PORTS)
            while not is_free(last):
                last = secrets.choice(PORTS)
            self._replace("port", f"{last}\n")
        return last

    def _make(self) -> None:
        if not self.path.is_dir():
            # Root's server runs as another account, which must pass through; see place.py.
            mode = 0o711 if os.geteuid() == 0 else 0o700
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(mode)

    def _passwords(self) -> dict[str, str]:
        try:
            kept: dict[str, str] = json.loads((self.path / "passwords.json").read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise SettingsError(
                f"dev_data_dir: {self.path}/passwords.json cannot be read; remove {self.path} to start anew"
            ) from None
        return kept

    def _replace(self, name: str, text: str) -> None:
        """In one step, readable for this user alone."""
        fresh = self.path / f"{name}.new"
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        fresh.replace(self.path / name)


def open_lock(path: Path) -> int:
    """A descriptor for `try_lock`. Closing it, and every copy that processes inherited, frees the lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def try_lock(descriptor: int) -> bool:
    """Takes the lock unless another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on it now."""
    with socket.socket() as probe:
        # As PostgreSQL does: connections of an earlier server that still close are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
