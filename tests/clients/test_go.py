"""The Go client: its README from its module in an empty project, its own tests, its example app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients import example_app, packages
from tests.clients.test_smoke import toolchain
from tests.processes import running

FOLDER = Path(__file__).parents[2] / "clients/go"
SECONDS = 900  # the first run fetches and compiles what the client needs, the analyser and all with -race
pytestmark = pytest.mark.timeout(SECONDS)


def example() -> str:
    found = re.search(r"```go\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def go(*arguments: str, cwd: Path = FOLDER, **environment: str) -> str:
    done = subprocess.run(
        [toolchain("go"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        # -trimpath: what was compiled for one folder serves in another.
        env=os.environ | {"GOFLAGS": "-buildvcs=false -trimpath"} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module proxy of files that has the client as it is published."""
    folder = tmp_path_factory.mktemp("proxy")
    packages.go(folder)
    return folder


def test_the_readme_runs_from_the_module_in_an_empty_project(
    proxy: Path, live_sidecar: Any, tmp_path: Path
) -> None:
    go("mod", "download")
    fetched = json.loads(go("env", "-json", "GOMODCACHE", "GOPROXY"))
    # The client is in the proxy of files; what it needs is here already, or where it usually comes from.
    sources = f"file://{proxy},file://{fetched['GOMODCACHE']}/cache/download,{fetched['GOPROXY']}"
    fresh = {
        "GOMODCACHE": str(tmp_path / "modules"),
        "GOPROXY": sources,
        "GOFLAGS": "-buildvcs=false -trimpath -modcacherw",
        "GOSUMDB": "off",
    }
    project = tmp_path / "project"
    project.mkdir()
    go("mod", "init", "example.com/empty", cwd=project)
    (project / "main.go").write_text(example().replace("127.0.0.1:50051", live_sidecar.grpc_address))
    go("get", f"{packages.GO_MODULE}@{packages.GO_VERSION}", cwd=project, **fresh)
    go("mod", "tidy", cwd=project, **fresh)
    assert go("run", ".", cwd=project, **fresh).startswith("Alice Archer\n")


def test_it_is_formatted_and_vetted() -> None:
    assert subprocess.run(["gofmt", "-l", "."], cwd=FOLDER, capture_output=True, check=True).stdout == b""
    go("vet", "./...")
    go("mod", "tidy", "-diff")


def test_staticcheck_has_nothing_to_say() -> None:
    go("tool", "-modfile=tools/go.mod", "staticcheck", "./...")


def test_its_own_tests(demo: dict[str, str], tmp_path: Path) -> None:
    # It compiles all dependencies once more.
    race = ["-race"] if os.environ.get("CI") == "true" and shutil.which("cc") else []
    with running("serve", **demo, connect_address=f"unix:{tmp_path}/connect.sock") as sidecar:
        addresses = sidecar.wait_for("ready").addresses
        variables = {"USHER_ADDRESS": addresses["grpc"], "USHER_CONNECT_ADDRESS": addresses["connect"]}
        printed = go("test", "-count=1", *race, "-v", "./usher", **variables)
    assert len(re.findall(r"^--- PASS", printed, re.MULTILINE)) >= 25


def test_the_example_answers_with_the_rows_of_the_user(live_sidecar: Any, tmp_path: Path) -> None:
    go("build", "-o", str(tmp_path / "example"), "./example")
    with example_app.running([tmp_path / "example"], FOLDER, live_sidecar.grpc_address) as address:
        example_app.check(address, live_sidecar.grpc_address)


def test_the_example_is_short() -> None:
    assert len((FOLDER / "example/main.go").read_text().splitlines()) < 60
