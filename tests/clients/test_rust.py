"""The Rust client: its README from its crate in an empty project, its own tests, its example app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import usher

from tests.clients.test_smoke import toolchain

FOLDER = Path(__file__).parents[2] / "clients/rust"
TARGET = FOLDER / "target"
SECONDS = 600  # the first run fetches and compiles the client's dependencies


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def cargo(*arguments: str, cwd: Path = FOLDER, **environment: str) -> str:
    """What cargo prints. Everything that is compiled is shared in one folder."""
    done = subprocess.run(
        [toolchain("cargo"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"CARGO_TARGET_DIR": str(TARGET)} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crate as it would be published, unpacked."""
    cargo("update", "--quiet", "--workspace")  # makes Cargo.lock if there is none, and leaves it if there is
    cargo("package", "--package", "usher-client", "--no-verify", "--allow-dirty")
    folder = tmp_path_factory.mktemp("package")
    with tarfile.open(TARGET / "package/usher-client-0.1.0.crate") as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def test_the_package_holds_what_is_needed_and_no_more(package: Path) -> None:
    held = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    made = {"Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"}
    sources = {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "src").rglob("*.rs")}
    assert held - made == {"Cargo.toml", "README.md", "LICENSE"} | sources


def test_the_readme_runs_from_the_package_in_an_empty_project(
    package: Path, live_sidecar: Any, tmp_path: Path
) -> None:
    wanted = block("toml")
    assert 'usher-client = "0.1"' in wanted
    project = '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n'
    given = wanted.replace('usher-client = "0.1"', f'usher-client = {{ path = "{package}" }}')
    (tmp_path / "Cargo.toml").write_text(f"{project}{given}[profile.dev]\ndebug = 0\nincremental = false\n")
    shutil.copy(FOLDER / "Cargo.lock", tmp_path)  # the same versions, which are compiled already
    (tmp_path / "src").mkdir()
    example = block("rust,no_run").replace("127.0.0.1:50051", live_sidecar.grpc_address)
    (tmp_path / "src/main.rs").write_text(example)
    assert cargo("run", "--quiet", cwd=tmp_path).startswith("Alice Archer\n")


def test_it_is_formatted_and_clippy_has_nothing_to_say() -> None:
    cargo("fmt", "--all", "--check")
    cargo("clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings")


def test_its_own_tests(live_sidecar: Any) -> None:
    printed = cargo("test", "--lib", "--tests", USHER_ADDRESS=live_sidecar.grpc_address)
    assert len(re.findall(r"^test .* ok$", printed, re.MULTILINE)) >= 14


def test_its_documentation_compiles() -> None:
    cargo("test", "--doc")
    cargo("doc", "--workspace", "--no-deps", "--quiet", RUSTDOCFLAGS="-D warnings")


@pytest.fixture(scope="module")
def example(live_sidecar: Any) -> Iterator[str]:
    """The address of the example app's users."""
    cargo("build", "--quiet", "--package", "users")
    process = subprocess.Popen(
        [TARGET / "debug/users"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"USHER_ADDRESS": live_sidecar.grpc_address, "LISTEN": "127.0.0.1:0"},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def get(address: str, token: str) -> Any:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_the_example_answers_with_the_rows_of_the_user_in_the_request(
    example: str, live_sidecar: Any
) -> None:
    alice = {"id": "alice", "name": "Alice Archer", "email": "alice@acme.example"}
    dave = {"id": "dave", "name": "Dave Draper", "email": "dave@globex.example"}
    with usher.SyncClient(live_sidecar.grpc_address) as client:
        token = client.issue_token("alice", {"tenant_id": "acme"}).token
        assert get(example, token) == [alice]
        assert get(example, client.issue_token("dave", {"tenant_id": "globex"}).token) == [dave]
    for refused in ("", "no token", f"{token}x"):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(example, refused)
        assert error.value.code == 401
        error.value.close()
    assert len((FOLDER / "example/main.rs").read_text().splitlines()) < 60
