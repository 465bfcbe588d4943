from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.core.errors import SettingsError
from sidecar.embedded import binaries


@pytest.mark.parametrize("version", binaries.INSTALLS)
def test_the_programs_of_the_version_are_found(version: int) -> None:
    said = subprocess.run(
        [binaries.find(version).program("postgres"), "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith(f"postgres (PostgreSQL) {version}.")


def test_no_code_of_the_wheel_runs() -> None:
    code = "import sys; from sidecar.embedded import binaries; binaries.find(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert binaries.__name__ in ran.stdout.split()
    assert binaries.PACKAGE not in ran.stdout.split()


def test_without_the_wheel_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(SettingsError, match=r"pip install 'usher-sidecar\[dev-db\]'"):
        binaries.find()


def test_a_copy_runs_and_can_be_read_by_all(tmp_path: Path) -> None:
    original = binaries.find()
    copied = binaries.copy(original, tmp_path / "to")
    assert tmp_path in copied.folder.parents
    # initdb looks for postgres beside it, and loads a library of the wheel.
    for name in ("postgres", "initdb", "pg_ctl"):
        ran = subprocess.run([copied.program(name), "--version"], capture_output=True, text=True, check=True)
        assert f"(PostgreSQL) {original.version}." in ran.stdout
        assert copied.program(name).stat().st_mode & 0o005 == 0o005
    for path in (tmp_path / "to").rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert path.is_symlink() or (mode & 0o022 == 0 and mode & 0o004), path


def test_a_copy_is_kept_until_the_programs_change(tmp_path: Path) -> None:
    copied = binaries.copy(binaries.find(), tmp_path / "to")
    (tmp_path / "to" / "marker").touch()
    assert binaries.copy(binaries.find(), tmp_path / "to") == copied
    assert (tmp_path / "to" / "marker").exists()
    os.utime(copied.program("postgres"))
    assert binaries.copy(binaries.find(), tmp_path / "to") == copied
    assert not (tmp_path / "to" / "marker").exists()
    assert copied.program("initdb").exists()
