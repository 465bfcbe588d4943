from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from sidecar.core.errors import SettingsError
from sidecar.embedded import binaries, place

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /var/tmp."""
    monkeypatch.setattr(place, "ELSEWHERE", tmp_path)
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.skipif(os.geteuid() == 0, reason="root cannot run the server")
def test_a_user_runs_the_server_in_the_data_folder(closed_data_dir: Path, said: list[str]) -> None:
    found = place.settle(closed_data_dir, binaries.find(), said.append)
    assert found == place.Place(home=closed_data_dir, binaries=binaries.find(), account=None)
    assert said == []


@as_root
def test_root_runs_it_as_nobody() -> None:
    found = place.account()
    assert found is not None
    assert found.uid == pwd.getpwnam("nobody").pw_uid != 0
    assert found.process == {"user": found.uid, "group": found.gid, "extra_groups": []}


@as_root
def test_a_folder_that_nobody_can_enter_is_used(data_dir: Path, said: list[str]) -> None:
    data_dir.mkdir(0o711)
    assert place.settle(data_dir, binaries.find(), said.append).home == data_dir
    assert not (data_dir / place.LINK).exists()


@as_root
def test_a_folder_that_nobody_can_enter_not_is_left_as_it_is(
    closed_data_dir: Path, elsewhere: Path, said: list[str]
) -> None:
    closed_data_dir.mkdir(0o711)
    found = place.settle(closed_data_dir, binaries.find(), said.append)
    assert found.home.parent == elsewhere
    assert found.home.stat().st_mode & 0o777 == 0o711
    assert (closed_data_dir / place.LINK).readlink() == found.home
    assert closed_data_dir.parent.stat().st_mode & 0o777 == 0o700
    assert str(found.home) in said[0]
    # Opened up later, it must not lose its data.
    closed_data_dir.parent.chmod(0o711)
    assert place.settle(closed_data_dir, binaries.find(), said.append).home == found.home


@as_root
def test_a_link_from_another_folder_is_not_followed(
    closed_data_dir: Path, elsewhere: Path, said: list[str]
) -> None:
    closed_data_dir.mkdir()
    (closed_data_dir / place.LINK).symlink_to(elsewhere / "usher-of-another")
    found = place.settle(closed_data_dir, binaries.find(), said.append)
    assert found.home != elsewhere / "usher-of-another"
    assert (closed_data_dir / place.LINK).readlink() == found.home


@as_root
@pytest.mark.parametrize("how", ["link", "other owner", "others may write", "file"])
def test_what_another_user_may_have_put_elsewhere_is_refused(
    closed_data_dir: Path, elsewhere: Path, said: list[str], how: str
) -> None:
    closed_data_dir.mkdir()
    home = place.settle(closed_data_dir, binaries.find(), said.append).home
    match how:
        case "link":
            home.rename(elsewhere / "other")
            home.symlink_to(elsewhere / "other")
        case "other owner":
            os.chown(home, 12345, -1)
        case "others may write":
            home.chmod(0o733)
        case "file":
            shutil.rmtree(home)
            home.touch()
    with pytest.raises(SettingsError, match=r"dev_data_dir.*--dev-data-dir"):
        place.settle(closed_data_dir, binaries.find(), said.append)


@as_root
def test_programs_that_nobody_can_read_are_copied(
    data_dir: Path, closed_data_dir: Path, said: list[str]
) -> None:
    closed = binaries.copy(binaries.find(), closed_data_dir)
    data_dir.mkdir(0o711)
    found = place.settle(data_dir, closed, said.append)
    assert data_dir in found.binaries.folder.parents
    assert len(said) == 1
