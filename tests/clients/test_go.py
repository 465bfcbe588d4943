"""The Go client: its README from its module in an empty project, its own tests, its example app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients import example_app
from tests.clients.test_smoke import toolchain

FOLDER = Path(__file__).parents[2] / "clients/go"
MODULE, VERSION = "usher.dev/client-go", "v0.1.0"
SECONDS = 300  # the first run fetches and compiles the client's dependencies
pytestmark = pytest.mark.timeout(2 * SECONDS)


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
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module proxy of files (go.dev/ref/mod, "GOPROXY protocol") with the client, as published."""
    folder = tmp_path_factory.mktemp("proxy") / MODULE / "@v"
    folder.mkdir(parents=True)
    (folder / "list").write_text(f"{VERSION}\n")
    (folder / f"{VERSION}.info").write_text(json.dumps({"Version": VERSION, "Time": "2026-01-01T00:00:00Z"}))
    (folder / f"{VERSION}.mod").write_bytes((FOLDER / "go.mod").read_bytes())
    with zipfile.ZipFile(folder / f"{VERSION}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files_of_the_module():
            archive.write(path, f"{MODULE}@{VERSION}/{path.relative_to(FOLDER)}")
    return folder.parents[2]


def files_of_the_module() -> list[Path]:
    """What is committed, but for modules inside (go.dev/ref/mod, "Module zip files")."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    return [FOLDER / name for name in listed.stdout.split() if not name.startswith("tools/")]


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
        "GOFLAGS": "-modcacherw -trimpath",
        "GOSUMDB": "off",
    }
    project = tmp_path / "project"
    project.mkdir()
    go("mod", "init", "example.com/empty", cwd=project)
    (project / "main.go").write_text(example().replace("127.0.0.1:50051", live_sidecar.grpc_address))
    go("get", f"{MODULE}@{VERSION}", cwd=project, **fresh)
    go("mod", "tidy", cwd=project, **fresh)
    assert go("run", ".", cwd=project, **fresh).startswith("Alice Archer\n")


def test_it_is_formatted_and_vetted() -> None:
    assert subprocess.run(["gofmt", "-l", "."], cwd=FOLDER, capture_output=True, check=True).stdout == b""
    go("vet", "./...")
    go("mod", "tidy", "-diff")


def test_staticcheck_has_nothing_to_say() -> None:
    go("tool", "-modfile=tools/go.mod", "staticcheck", "./...")


def test_its_own_tests(live_sidecar: Any) -> None:
    race = ["-race"] if shutil.which("cc") else []  # it needs a C compiler
    printed = go("test", "-count=1", *race, "-v", "./usher", USHER_ADDRESS=live_sidecar.grpc_address)
    assert len(re.findall(r"^--- PASS", printed, re.MULTILINE)) >= 12


def test_the_example_answers_with_the_rows_of_the_user(live_sidecar: Any, tmp_path: Path) -> None:
    go("build", "-o", str(tmp_path / "example"), "./example")
    with example_app.running([tmp_path / "example"], FOLDER, live_sidecar.grpc_address) as address:
        example_app.check(address, live_sidecar.grpc_address)


def test_the_example_is_short() -> None:
    assert len((FOLDER / "example/main.go").read_text().splitlines()) < 60
