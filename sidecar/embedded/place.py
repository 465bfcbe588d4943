"""Where the cluster lives, and as which account the server runs.

PostgreSQL refuses to run as root. Root therefore runs it as `nobody`, which must be able to enter the data
folder and to read the programs. No folder of the user's is opened up for that: what `nobody` cannot reach is
put below /var/tmp instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.core.errors import SettingsError
from sidecar.embedded import binaries as programs
from sidecar.embedded.binaries import Binaries

ELSEWHERE: Final = Path("/var/tmp")  # noqa: S108  root's own folder below it is checked before use
LINK: Final = "elsewhere"
"""The symbolic link in the data folder to where the cluster is instead, for users and `make clean`."""
ACCOUNT: Final = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A system account to run as; ids as numbers."""

    uid: int
    gid: int

    @property
    def process(self) -> dict[str, Any]:
        """The arguments of `subprocess.Popen` that make a process run as it."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a server needs to run."""

    home: Path
    """The folder that holds the cluster."""
    binaries: Binaries
    account: Account | None
    """None: the account of this process."""


def account() -> Account | None:
    """The account for the server. Raises SettingsError when root finds no other."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise SettingsError(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT} to run it as; "
            "start usher as another user"
        ) from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def settle(data_dir: Path, binaries: Binaries, say: Callable[[str], None]) -> Place:
    """The place for the cluster of `data_dir`. Raises SettingsError when there is none that is safe."""
    runner = account()
    home = data_dir
    if runner is not None:
        link = data_dir / LINK
        # Once elsewhere, always there: a folder that is opened up later must not lose its data.
        if link.is_symlink() or not _can_enter(data_dir):
            home = _home_elsewhere(data_dir)
            if not link.is_symlink() or link.readlink() != home:
                link.unlink(missing_ok=True)  # of a data folder that was moved or copied
                link.symlink_to(home)
            say(f"PostgreSQL runs as {ACCOUNT}, which cannot enter {data_dir}; its data is in {home}")
        if not _can_run(binaries):
            say(f"PostgreSQL runs as {ACCOUNT}, which cannot read {binaries.folder}; copying the programs")
            binaries = programs.copy(binaries, home / "programs")
    return Place(home=home, binaries=binaries, account=runner)


def make_private(folder: Path, runner: Account | None) -> None:
    """Makes an empty folder that only the server's account may enter."""
    folder.mkdir(mode=0o700)
    if runner is not None:
        os.chown(folder, runner.uid, runner.gid, follow_symlinks=False)


def _can_enter(folder: Path) -> bool:
    """By the permission bits for others; access lists are not looked at, so it may say no too often."""
    folder = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _can_run(binaries: Binaries) -> bool:
    needed = stat.S_IROTH | stat.S_IXOTH
    return _can_enter(binaries.folder) and bool(
        binaries.program("postgres").stat().st_mode & needed == needed
    )


def _home_elsewhere(data_dir: Path) -> Path:
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    home = ELSEWHERE / f"usher-{name}"
    try:
        home.mkdir(mode=0o711)
        home.chmod(0o711)  # whatever the umask took away
    except FileExistsError:
        # Anyone may write in /var/tmp: what another user put there under this name must not be used.
        found = home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise SettingsError(
                f"dev_data_dir: {home} is needed for the data of {data_dir}, but is no folder that only root "
                "can change; remove it, or choose another data folder with --dev-data-dir"
            ) from None
    return home
