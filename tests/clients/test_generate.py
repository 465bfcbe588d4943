"""proto/tools: the stubs are what the contract gives, and a change that must not pass does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from usher.v1 import error_reason_pb2, key_service_pb2, query_service_pb2, token_service_pb2, values_pb2

ROOT = Path(__file__).parents[2]
STUBS = "clients/python/usher/v1"
CONTRACT = "sidecar/services/contract.binpb"
RULES = "buf/validate/validate.proto"


class Repository:
    """A copy of the contract, its tools and the Python stubs, in a git repository of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ignore = shutil.ignore_patterns(".cache", "__pycache__")
        for folder in ("proto", STUBS):
            shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
        (root / CONTRACT).parent.mkdir(parents=True)
        shutil.copy(ROOT / CONTRACT, root / CONTRACT)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        """Run git as nobody in particular."""
        identity = [
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@usher.example",
            "-c",
            "commit.gpgsign=false",
        ]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def commit(self, *paths: str) -> None:
        """Commit the paths."""
        self.git("add", *paths)
        self.git("commit", "--quiet", "--message", "a commit")

    def edit(self, name: str, old: str, new: str) -> None:
        """Change one place of a file."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1
        (self.root / name).write_text(text.replace(old, new))

    def run(self, *arguments: str, ci: bool = False, path: str | None = None) -> tuple[int, str]:
        """Run the script; its exit code and all that it printed."""
        environment = {**os.environ, "CI": "true" if ci else "", "PYTHONDONTWRITEBYTECODE": "1"}
        if path is not None:
            environment["PATH"] = path
        done = subprocess.run(
            [sys.executable, self.root / "proto/tools/generate.py", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_python_stubs_and_contract_are_up_to_date(repository: Repository) -> None:
    code, printed = repository.run("check", "--only", "python")
    assert (code, printed) == (0, "python: up to date (20 files)\n")


def test_the_contract_for_other_languages_has_every_service_and_no_rules(tmp_path: Path) -> None:
    made = tmp_path / "usher.binpb"
    command = [sys.executable, "proto/tools/generate.py", "contract"]
    subprocess.run([*command, str(made)], cwd=ROOT, check=True)
    found = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    names = {file.name for file in found.file}
    assert {path.relative_to(ROOT / "proto").as_posix() for path in ROOT.glob("proto/usher/v1/*")} <= names
    assert RULES not in names
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_drift_is_named_and_generate_mends_it(repository: Repository) -> None:
    repository.edit(
        "proto/usher/v1/values.proto", "  KIND_ARRAY = 15;", "  KIND_ARRAY = 15;\n  KIND_NEW = 16;"
    )
    (repository.root / STUBS / "old_pb2.py").touch()
    (repository.root / STUBS / "key_service_pb2.py").unlink()

    code, printed = repository.run("check", "--only", "python")
    assert code == 1
    assert "run `make proto`" in printed
    for line in (
        f"differs: {STUBS}/values_pb2.py",
        f"differs: {CONTRACT}",
        f"left over: {STUBS}/old_pb2.py",
        f"missing: {STUBS}/key_service_pb2.py",
    ):
        assert line in printed
    assert "token_service" not in printed

    assert repository.run("generate", "--only", "python")[0] == 0
    assert repository.run("check", "--only", "python")[0] == 0


def test_a_missing_toolchain_is_skipped_but_fails_in_ci(repository: Repository, tmp_path: Path) -> None:
    code, printed = repository.run("check", "--only", "go", path=str(tmp_path))
    assert (code, printed) == (0, "go: skipped, `go` is not installed\n")
    code, printed = repository.run("check", "--only", "go", ci=True, path=str(tmp_path))
    assert code == 1
    assert "proto: go: `go` is not installed, and CI=true" in printed


def test_lint_before_there_is_anything_to_compare_with(repository: Repository) -> None:
    code, printed = repository.run("lint")
    assert code == 0
    assert "no branch main here" in printed
    assert repository.run("lint", ci=True)[0] == 1

    repository.commit("proto/buf.yaml")
    code, printed = repository.run("lint", ci=True)
    assert code == 0
    assert "main has no contract yet" in printed


def test_lint_refuses_a_breaking_change_from_a_detached_checkout(repository: Repository) -> None:
    repository.commit("proto")
    repository.git("checkout", "--quiet", "--detach")
    code, printed = repository.run("lint", ci=True)
    assert code == 0
    assert "no breaking change against main" in printed

    repository.edit("proto/usher/v1/key_service.proto", "bool force = 1;", "bool force = 2;")
    repository.commit("proto")
    code, printed = repository.run("lint", ci=True)
    assert code == 1
    assert "usher/v1/key_service.proto" in printed
    assert 'Previously present field "1"' in printed


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("bool force = 1;", "bool Force = 1;", "lower_snake_case"),
        (
            'import "google/protobuf/timestamp.proto";',
            'import "google/protobuf/timestamp.proto";\nimport "google/protobuf/any.proto";',
            "any.proto is unused",
        ),
    ],
    ids=["style", "unused import"],
)
def test_lint_refuses_bad_style(repository: Repository, old: str, new: str, complaint: str) -> None:
    repository.edit("proto/usher/v1/key_service.proto", old, new)
    code, printed = repository.run("lint")
    assert code == 1
    assert "usher/v1/key_service.proto:" in printed
    assert complaint in printed


def test_rules_are_in_the_servers_contract_and_not_in_the_stubs() -> None:
    contract = descriptor_pb2.FileDescriptorSet.FromString((ROOT / CONTRACT).read_bytes())
    ruled = {file.name for file in contract.file if RULES in file.dependency}
    assert "usher/v1/token_service.proto" in ruled
    for stub in (error_reason_pb2, key_service_pb2, query_service_pb2, token_service_pb2, values_pb2):
        described = descriptor_pb2.FileDescriptorProto()
        stub.DESCRIPTOR.CopyToProto(described)
        assert RULES not in described.dependency
        as_read = described.SerializeToString()
        described.DiscardUnknownFields()
        assert described.SerializeToString() == as_read
