from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from sidecar.core.errors import SettingsError
from sidecar.embedded.binaries import find
from sidecar.embedded.cluster import Cluster, PidFile, environment
from sidecar.embedded.folder import HOST
from sidecar.embedded.place import Place


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """As far as it is the account's own; no server ever runs in it."""
    cluster = Cluster(Place(home=tmp_path, binaries=find(), account=None))
    cluster.path.mkdir()
    return cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def write_pid_file(cluster: Cluster, *, pid: int, port: int, socket_folder: str = "") -> Path:
    path = cluster.path / "postmaster.pid"
    lines = (pid, cluster.path, int(time.time()), port, socket_folder, HOST, "1 2", "ready   ")
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_pid_file_is_read(cluster: Cluster) -> None:
    path = write_pid_file(cluster, pid=17, port=20_000)
    assert PidFile.read(path) == PidFile(pid=17, port=20_000, socket_folder="", status="ready")
    assert cluster.ready


@pytest.mark.parametrize("lines", range(8))
def test_a_pid_file_that_is_being_written_says_nothing(cluster: Cluster, lines: int) -> None:
    path = write_pid_file(cluster, pid=17, port=20_000)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    assert PidFile.read(path) is None
    assert not cluster.ready


def test_a_stale_pid_file_goes_even_when_a_process_has_its_number(cluster: Cluster) -> None:
    path = write_pid_file(cluster, pid=os.getpid(), port=free_port())
    os.close(cluster.lock())
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "x\n", "17\n"])
def test_a_broken_pid_file_goes(cluster: Cluster, content: str) -> None:
    (cluster.path / "postmaster.pid").write_text(content)
    os.close(cluster.lock())
    assert not (cluster.path / "postmaster.pid").exists()


def test_a_server_of_someone_else_is_left_alone(cluster: Cluster) -> None:
    with socket.create_server((HOST, 0)) as listening:
        path = write_pid_file(cluster, pid=os.getpid(), port=listening.getsockname()[1])
        with pytest.raises(SettingsError, match=f"usher did not start .process {os.getpid()}"):
            cluster.lock()
        assert path.exists()


def test_a_server_of_someone_else_on_a_unix_socket_is_left_alone(cluster: Cluster) -> None:
    path = write_pid_file(cluster, pid=os.getpid(), port=free_port(), socket_folder="/run/postgresql")
    with pytest.raises(SettingsError, match="usher did not start"):
        cluster.lock()
    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a folder away")
def test_the_cluster_of_another_account_is_refused(cluster: Cluster) -> None:
    os.chown(cluster.path, 12345, -1)
    with pytest.raises(SettingsError, match="made by another user"):
        cluster.lock()


def test_neither_settings_of_clients_nor_our_secrets_reach_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("USHER_DATABASE_URL", "postgresql://usher:s3cret@db/app")
    assert {"PGDATA", "USHER_DATABASE_URL"}.isdisjoint(environment())
    assert environment()["PATH"] == os.environ["PATH"]
