"""`usher dev` as a newcomer meets it: one command, a real database, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.processes import Process, get, running, usher
from tests.servers import temporary_folder

ASK = ("query", "--sub", "alice", "--claim", "tenant_id=acme", "--json", "select id from users")


def postgres_processes(folder: Path) -> list[str]:
    """The processes that work on a database below `folder`."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "postgres" in line and str(folder) in line]


def postmaster(folder: Path) -> int:
    """The process that all connections of the server below `folder` come from."""
    place = next(path.resolve() for path in folder.rglob("*") if path.name == "postgres.log").parent
    (pid_file,) = place.rglob("postmaster.pid")
    return int(pid_file.read_text().splitlines()[0])


def wait_until_gone(folder: Path) -> list[str]:
    deadline = time.monotonic() + 20
    while (left := postgres_processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def ask(process: Process) -> str:
    done = usher(*ASK, "--address", process.grpc_address)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_the_first_start_to_a_restart_after_a_kill() -> None:
    folder = temporary_folder()
    with running("dev", cwd=folder) as process:
        process.wait_for("ready")
        text = "\n".join(process.lines)
        assert "making a PostgreSQL" in text
        for address in ("grpc", "http", "admin_http"):
            assert process.addresses[address] in text
        assert "acme" in text
        assert "globex" in text
        assert text.count("--sub") >= 2
        assert ask(process) == '{"id": "alice"}\n'
        assert postgres_processes(folder)
        usher(*ASK[:-1], "update users set name = 'Kept'", "--address", process.grpc_address)
        assert process.stop(signal.SIGINT) == 0
    assert wait_until_gone(folder) == []

    with running("dev", cwd=folder) as process:
        process.wait_for("ready")
        assert "making a PostgreSQL" not in "\n".join(process.lines)
        kept = usher(*ASK[:-1], "select name from users", "--address", process.grpc_address)
        assert kept.stdout == '{"name": "Kept"}\n'
        process.kill()
    assert wait_until_gone(folder) == []

    with running("dev", cwd=folder) as process:
        process.wait_for("ready")
        assert ask(process) == '{"id": "alice"}\n'
        admin = usher("keys", "list", "--address", f"unix:{folder}/.usher/admin.sock")
        assert admin.returncode == 0, admin.stderr
        assert "active" in admin.stdout
    assert wait_until_gone(folder) == []
    assert not (folder / ".usher" / "admin.sock").exists()


def test_it_ends_with_its_database() -> None:
    folder = temporary_folder()
    with running("dev", cwd=folder) as process:
        process.wait_for("ready")
        os.kill(postmaster(folder), signal.SIGQUIT)
        assert process.ended() == 1
        assert "PostgreSQL has ended" in "\n".join(process.lines)
    assert wait_until_gone(folder) == []


def test_a_second_one_in_the_same_folder_is_refused() -> None:
    folder = temporary_folder()
    with running("dev", cwd=folder) as first:
        first.wait_for("ready")
        with running("dev", cwd=folder) as second:
            assert second.process.wait(30) == 2
        assert second.lines[-1].startswith("usher: ")
        assert ".usher" in second.lines[-1]
        assert get(first.url("/readyz"))[0] == 200


def test_a_folder_that_cannot_be_written() -> None:
    folder = temporary_folder()
    (folder / ".usher").write_text("a file, not a folder")
    with running("dev", cwd=folder) as process:
        assert process.process.wait(30) == 2
    assert "dev_data_dir" in process.lines[-1]


def test_a_port_that_is_taken() -> None:
    folder = temporary_folder()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running("dev", cwd=folder, dev_postgres_port=port) as process:
            assert process.process.wait(30) == 2
        assert "dev_postgres_port" in process.lines[-1]
        with running("dev", cwd=folder, grpc_address=f"127.0.0.1:{port}") as process:
            assert process.process.wait(30) == 2
        assert "grpc_address" in process.lines[-1]
    assert wait_until_gone(folder) == []


def test_ctrl_c_in_a_terminal_reaches_every_process_of_the_group() -> None:
    """A terminal sends SIGINT to the whole group: the database must not stop before the sidecar."""
    folder = temporary_folder()
    with running("dev", cwd=folder) as process:
        process.wait_for("ready")
        os.killpg(process.process.pid, signal.SIGINT)
        assert process.process.wait(30) == 0
    assert process.events("uncaught") == []
    assert wait_until_gone(folder) == []
