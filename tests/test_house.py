"""The house stays as docs/architecture.md draws it, and everything a user can meet is documented."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from usher.v1 import (
    error_reason_pb2,
    key_service_pb2,
    query_service_pb2,
    revocation_service_pb2,
    token_service_pb2,
    values_pb2,
)

from sidecar import __version__
from sidecar.app import doctor
from sidecar.cli.main import parser
from sidecar.config import DECLARED, Config
from sidecar.core.errors import Reason
from sidecar.core.policy import ADMIN_METHODS, METHODS
from sidecar.core.values import Kind
from sidecar.postgres.audit import checks
from sidecar.services.access import ACCESS, Listener
from sidecar.services.status import CODES

ROOT = Path(__file__).parent.parent
ROOMS = ("core", "services", "postgres", "rpc", "connect", "web", "telemetry", "embedded", "workers", "cli")
LONGEST_FILE = 400

# Seen through the tests of the file beside them, or only declarations.
WITHOUT_OWN_TEST = {
    "core/clock.py",
    "core/events.py",
    "core/values.py",
}


def sources() -> list[Path]:
    return sorted(path for path in (ROOT / "sidecar").rglob("*.py") if "__pycache__" not in path.parts)


def test_rooms_import_in_one_direction() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_room_says_what_it_owns_and_refuses_to_know() -> None:
    for room in ROOMS:
        text = (ROOT / "sidecar" / room / "__init__.py").read_text()
        assert text.startswith('"""'), room
        if room != "cli":
            assert "efuses to know" in text, room


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_tests_mirror_sources() -> None:
    missing = []
    for path in sources():
        inside = path.relative_to(ROOT / "sidecar")
        if inside.parts[0] not in ROOMS or path.name == "__init__.py" or str(inside) in WITHOUT_OWN_TEST:
            continue
        # The services are tested on a real socket, which is a transport's.
        beside = "rpc" if inside.parts[0] == "services" else inside.parent
        if not (ROOT / "tests" / beside / f"test_{path.name}").exists():
            missing.append(str(inside))
    assert missing == []


def test_every_rpc_is_in_the_access_table() -> None:
    contract = {
        f"{service.full_name}/{method.name}"
        for file in (token_service_pb2, query_service_pb2, key_service_pb2, revocation_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(ACCESS) == contract


def test_the_policy_knows_every_rpc_and_which_are_for_admins() -> None:
    def served(listener: Listener) -> set[str]:
        return {rpc.rpartition("/")[2] for rpc, access in ACCESS.items() if access.listener is listener}

    assert set(METHODS) == served(Listener.DATA)
    assert set(ADMIN_METHODS) == served(Listener.ADMIN)


def test_reasons_are_the_same_in_contract_core_status_and_docs() -> None:
    in_contract = {name.removeprefix("ERROR_REASON_") for name, _ in error_reason_pb2.ErrorReason.items()} - {
        "UNSPECIFIED"
    }
    assert {reason.value for reason in Reason} == in_contract
    assert set(CODES) == set(Reason)
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE))
    assert rows == {reason.value: code.name for reason, code in CODES.items()}


def test_kinds_are_the_same_in_contract_core_and_docs() -> None:
    numbers = {name.removeprefix("KIND_"): number for name, number in values_pb2.Kind.items() if number}
    assert {kind.name: kind.value for kind in Kind} == numbers
    text = (ROOT / "docs/values.md").read_text()
    assert [name for name in numbers if f"`{name}`" not in text] == []


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    for field in dataclasses.fields(Config):
        assert f"| `{field.name}` |" in text, field.name


def test_every_setting_that_weakens_safety_is_listed_with_what_follows() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    table = text.partition("## What weakens safety")[2].partition("\n## ")[0]
    weakening = [name for name, declared in DECLARED.items() if declared.weakens]
    assert [name for name in weakening if f"| `{name}` |" not in table] == []


def test_every_finding_of_the_database_check_is_documented_with_its_severity() -> None:
    text = (ROOT / "docs/database-check.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))
    assert rows == {check.name: check.severity.value for check in checks()}


def test_every_check_of_the_doctor_is_documented_in_its_order() -> None:
    text = (ROOT / "docs/doctor.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == doctor.CHECKS


def test_no_page_waits_for_a_figure() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")]
    assert [page.name for page in pages if re.search(r"FIGURE_|\bTBD\b|\bTODO\b", page.read_text())] == []


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    commands = []
    for verb, sub in _choices(parser()).items():
        nested = _choices(sub)
        commands += [f"usher {verb} {action}" for action in nested] or [f"usher {verb}"]
    assert [command for command in commands if f"`{command}`" not in text] == []


def _choices(of: object) -> dict[str, object]:
    for action in of._actions:  # type: ignore[attr-defined]
        if action.__class__.__name__ == "_SubParsersAction":
            return dict(action.choices)
    return {}


def test_the_sidecar_asks_for_the_stubs_of_its_own_version_and_both_carry_the_licence() -> None:
    server, client = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in (ROOT, ROOT / "clients/python")
    )
    assert f"usher-client=={client['version']}" in server["dependencies"]
    assert client["version"] == __version__
    assert server["license-files"] == client["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text() == (ROOT / "clients/python/LICENSE").read_text()


def test_no_committed_file_names_a_package_registry() -> None:
    listed = subprocess.run(
        [
            "git",
            "grep",
            "-lIE",
            r'"resolved": *"http|index-url +http|registry\.npmjs|pypi\.org/simple|index\.crates',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.stdout.split() in ([], ["tests/test_house.py"])
