"""`usher serve` and `usher dev`: how options are taken, and what a newcomer is shown.

The processes themselves are in tests/system.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import pytest

from sidecar.app.serving import Addresses
from sidecar.cli import serve
from sidecar.cli.main import parser
from sidecar.cli.serve import _command, _dev_config, _welcome
from tests.cli.conftest import Usher


def chosen(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(["dev", *arguments])


def addresses(grpc: str = "127.0.0.1:50051") -> Addresses:
    return Addresses(
        grpc=grpc, grpc_admin="unix:.usher/admin.sock", http="127.0.0.1:8080", admin_http="127.0.0.1:9090"
    )


def test_serve_needs_a_database(usher: Usher) -> None:
    done = usher("serve")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usher: database_url: name your database")
    assert "`usher dev`" in done.err


def test_dev_brings_its_own(usher: Usher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_DATABASE_URL", "postgresql://app:hunter2@db/app")
    done = usher("dev")
    assert done.code == 2
    assert "use `usher serve` for yours" in done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_bad_settings_start_nothing(usher: Usher, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usher(command, "--grpc-address", "0.0.0.0:1").code == 2
    assert usher(command, "--token-ttl", "soon").code == 2
    monkeypatch.setenv("USHER_GRPC_ADRESS", "127.0.0.1:1")
    done = usher(command)
    assert (done.code, "did you mean grpc_address?" in done.err) == (2, True)


def test_the_admin_socket_of_dev_lies_in_its_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _dev_config(chosen()).grpc_admin_address == "unix:.usher/admin.sock"
    assert _dev_config(chosen("--dev-data-dir", "x")).grpc_admin_address == "unix:x/admin.sock"
    file = tmp_path / "usher.toml"
    file.write_text("dev_data_dir = 'from-file'\n")
    assert _dev_config(chosen("--config", str(file))).grpc_admin_address == "unix:from-file/admin.sock"
    monkeypatch.setenv("USHER_DEV_DATA_DIR", "from-env")
    assert _dev_config(chosen("--config", str(file))).grpc_admin_address == "unix:from-env/admin.sock"
    assert _dev_config(chosen("--grpc-admin-address", "unix:y")).grpc_admin_address == "unix:y"
    assert _dev_config(chosen("--grpc-admin-address", "")).grpc_admin_address == ""


def test_the_welcome_shows_addresses_tenants_and_four_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_command", lambda: ".venv/bin/usher")
    text = _welcome(addresses())
    for shown in ("127.0.0.1:50051", "http://127.0.0.1:8080", "http://127.0.0.1:9090", "acme", "globex"):
        assert shown in text
    pasted = [line.strip() for line in text.splitlines() if ".venv/bin/usher" in line]
    assert len(pasted) == 4
    assert "--address" not in text


def test_the_commands_of_the_welcome_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_command", lambda: "usher")
    text = _welcome(addresses("127.0.0.1:7"))
    lines = [line.strip() for line in text.splitlines() if " usher " in line or "$(usher " in line]
    inner = lines[0].removeprefix("TOKEN=$(").removesuffix(")")
    parsed = [parser().parse_args(shlex.split(line)[1:]) for line in (inner, *lines[1:])]
    assert [(found.verb, getattr(found, "action", None)) for found in parsed] == [
        ("token", "issue"),
        ("token", "verify"),
        ("query", None),
        ("query", None),
    ]
    assert [found.address for found in parsed if not getattr(found, "jwks", None)] == ["127.0.0.1:7"] * 3
    assert parsed[1].jwks == "http://127.0.0.1:8080/.well-known/jwks.json"
    assert parsed[2].sql == "select * from users"
    assert parsed[3].claim == ["tenant_id=globex"]


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("{here}/.venv/bin/usher", ".venv/bin/usher"),
        ("{here}/my env/usher", "'my env/usher'"),
        ("/opt/usher/bin/usher", "/opt/usher/bin/usher"),
        ("usher", "usher"),
    ],
)
def test_the_command_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [called.format(here=os.getcwd())])
    assert _command() == shown
