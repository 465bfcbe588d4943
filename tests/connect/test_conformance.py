"""The Connect project's conformance suite for servers, for what is offered. Needs Go, and its proxy once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/connect/conformance"
CACHE = ROOT / "proto/.cache/conformance"
MODULE = "connectrpc.com/conformance"
VERSION = "v1.0.7"
LEAST_CASES = 292
"""So that a suite that runs next to nothing does not pass."""


def suite() -> tuple[Path, Path]:
    """The suite's program, and the folder of its contract."""
    if shutil.which("go") is None:
        pytest.skip("no Go toolchain")
    program = CACHE / "connectconformance"
    environment = os.environ | {"GOBIN": str(CACHE), "GOFLAGS": "-mod=mod"}
    if not program.exists():
        done = subprocess.run(
            ["go", "install", f"{MODULE}/cmd/connectconformance@{VERSION}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("the suite cannot be had: " + done.stderr[-200:])
    modules = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True)
    return program, Path(modules.stdout.strip()) / f"{MODULE}@{VERSION}" / "proto"


@pytest.mark.timeout(900)
def test_all_that_is_offered_conforms(tmp_path: Path) -> None:
    program, contract = suite()
    files = [f"connectrpc/conformance/v1/{name}.proto" for name in ("config", "service", "server_compat")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{contract}", f"--python_out={tmp_path}", *files]
    subprocess.run(command, cwd=contract, check=True)
    # Before the library of that name, where bench/connect_transport.py has had it installed.
    (tmp_path / "connectrpc/__init__.py").touch()
    server = [sys.executable, "-m", "tests.connect.conformance.server", str(tmp_path)]
    conf = str(FOLDER / "offered.yaml")
    done = subprocess.run(
        [program, "--mode", "server", "--conf", conf, "--max-servers", "1", "--", *server],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed, 0 failed", done.stdout + done.stderr)
    assert passed, done.stdout
    assert int(passed[1]) >= LEAST_CASES
