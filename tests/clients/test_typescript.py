"""The TypeScript client: its README from its package in an empty project, and its own tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients import example_app
from tests.clients.test_smoke import toolchain
from tests.processes import running

FOLDER = Path(__file__).parents[2] / "clients/typescript"
SECONDS = 300  # the first run fetches the client's dependencies
QUIET = ("--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")


def example() -> str:
    found = re.search(r"```ts\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def run(cwd: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
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
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toolchain("node")
    folder = tmp_path_factory.mktemp("package")
    run(FOLDER, toolchain("npm"), "ci", *QUIET)
    run(FOLDER, "npm", "pack", "--pack-destination", str(folder))
    (archive,) = folder.iterdir()
    return archive


def test_the_readme_runs_from_the_installed_package(package: Path, live_sidecar: Any, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    run(tmp_path, "npm", "install", *QUIET, str(package))
    (tmp_path / "example.ts").write_text(example().replace("127.0.0.1:50051", live_sidecar.grpc_address))
    # Its declarations are checked too, with the types of Node alone.
    compiler, types = FOLDER / "node_modules/.bin/tsc", FOLDER / "node_modules/@types"
    strict = ("--strict", "--exactOptionalPropertyTypes", "--module", "nodenext", "--target", "es2022")
    run(tmp_path, str(compiler), *strict, "--lib", "es2022", "--typeRoots", str(types), "example.ts")
    assert run(tmp_path, "node", "example.js").startswith("Alice Archer\n")


def test_the_package_holds_what_is_needed_and_no_more(package: Path) -> None:
    names = run(FOLDER, "tar", "-tzf", str(package)).split()
    folders = {name.removeprefix("package/").partition("/")[0] for name in names}
    assert folders == {"LICENSE", "README.md", "dist", "package.json"}
    assert {"package/dist/index.js", "package/dist/index.d.ts"} < set(names)


def test_its_own_tests(package: Path, demo: dict[str, str]) -> None:
    assert package.exists()
    with running("serve", **demo, connect_address="127.0.0.1:0") as sidecar:
        addresses = sidecar.wait_for("ready").addresses
        variables = {"USHER_ADDRESS": addresses["grpc"], "USHER_CONNECT_ADDRESS": addresses["connect"]}
        run(FOLDER, "node", "--test", "test/", **variables)


def test_the_example_answers_with_the_rows_of_the_user(
    package: Path, live_sidecar: Any, tmp_path: Path
) -> None:
    for name in ("app.ts", "package.json", "tsconfig.json"):
        shutil.copy(FOLDER / "example" / name, tmp_path)
    run(tmp_path, "npm", "install", *QUIET, "--omit=dev", str(package))
    (tmp_path / "node_modules/@types").symlink_to(FOLDER / "node_modules/@types")
    run(tmp_path, str(FOLDER / "node_modules/.bin/tsc"))
    with example_app.running(["node", "app.js"], tmp_path, live_sidecar.grpc_address) as address:
        example_app.check(address, live_sidecar.grpc_address)


def test_the_example_is_short() -> None:
    assert len((FOLDER / "example/app.ts").read_text().splitlines()) < 60
