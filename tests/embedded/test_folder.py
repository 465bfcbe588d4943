from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.errors import SettingsError
from sidecar.embedded.folder import HOST, PORTS, DataFolder, open_lock, try_lock


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "above" / "data")
    folder.open()
    yield folder
    folder.close()


def listener(port: int = 0) -> socket.socket:
    listening = socket.socket()
    listening.bind((HOST, port))
    listening.listen()
    return listening


def test_one_process_holds_it_at_a_time(folder: DataFolder) -> None:
    other = DataFolder(folder.path)
    with pytest.raises(SettingsError, match=f"in use by another usher.*{os.getpid()}.*--dev-data-dir"):
        other.open()
    folder.close()
    other.open()
    other.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=f"dev_data_dir: {re.escape(str(tmp_path))}/file/data cannot be"):
        DataFolder(tmp_path / "file" / "data").open()


def test_a_lock_is_not_followed_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(SettingsError, match="dev_data_dir"):
        DataFolder(tmp_path).open()
    assert not (tmp_path / "precious").exists()


def test_passwords_are_random_kept_and_private(folder: DataFolder) -> None:
    first, second = folder.password("postgres"), folder.password("usher")
    assert first != second
    assert len(first) >= 32
    assert (folder.password("postgres"), folder.password("usher")) == (first, second)
    folder.close()
    again = DataFolder(folder.path)
    assert again.password("postgres") == first
    assert again.has_password("usher")
    assert not again.has_password("other")
    assert stat.S_IMODE((folder.path / "passwords.json").stat().st_mode) == 0o600


def test_damaged_passwords_are_never_replaced(folder: DataFolder) -> None:
    (folder.path / "passwords.json").write_text('{"postgres": "s3cret')
    with pytest.raises(SettingsError, match="cannot be read; remove") as raised:
        folder.password("postgres")
    assert "s3cret" not in str(raised.value)


def test_a_chosen_port_is_kept(folder: DataFolder) -> None:
    port = folder.port(0)
    assert port in PORTS
    assert {folder.port(0) for _ in range(5)} == {port}


def test_a_kept_port_that_is_taken_is_chosen_anew(folder: DataFolder) -> None:
    port = folder.port(0)
    with listener(port):
        other = folder.port(0)
        assert other != port
    assert folder.port(0) == other


@pytest.mark.parametrize("kept", ["", "x", "80", "-1"])
def test_nonsense_in_the_port_file_is_replaced(folder: DataFolder, kept: str) -> None:
    (folder.path / "port").write_text(kept)
    assert folder.port(0) in PORTS


def test_a_wanted_port_that_is_taken_is_an_error() -> None:
    folder = DataFolder(Path("never made"))
    with listener() as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError, match=f"dev_postgres_port: port {port} is taken"):
            folder.port(port)
    assert folder.port(port) == port


def test_a_lock_is_free_when_every_copy_of_its_descriptor_is_closed(tmp_path: Path) -> None:
    first, second = open_lock(tmp_path / "lock"), open_lock(tmp_path / "lock")
    assert try_lock(first)
    inherited = os.dup(first)
    os.close(first)
    assert not try_lock(second)
    os.close(inherited)
    assert try_lock(second)
    os.close(second)
