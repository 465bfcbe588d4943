"""The stubs of other languages, against a real sidecar: a token, and a query in its scope."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"
SECONDS = 300  # the first run fetches and compiles the client's dependencies


def toolchain(name: str) -> str:
    """The path of a program; without it the test is skipped, and fails when CI=true."""
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"`{name}` is not installed, and CI=true")
    pytest.skip(f"`{name}` is not installed")


async def run(folder: Path, *command: str) -> str:
    """Run a command; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, errors.decode()
    return output.decode()


def check(printed: str) -> None:
    """Row-level security showed alice her own row, under a key of the sidecar."""
    answer = json.loads(printed)
    assert answer["rows"] == [["Alice Archer"]]
    assert answer["alg"] in ("ES256", "RS256")
    assert len(answer["kid"]) == 43


async def test_go(live_sidecar: Any, tmp_path: Path) -> None:
    go = toolchain("go")
    folder = CLIENTS / "go"
    await run(folder, go, "build", "-trimpath", "-o", str(tmp_path / "smoke"), "./smoke")
    check(await run(folder, str(tmp_path / "smoke"), live_sidecar.grpc_address))


async def test_typescript(live_sidecar: Any) -> None:
    node, npm = toolchain("node"), toolchain("npm")
    folder = CLIENTS / "typescript"
    await run(folder, npm, "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
    check(await run(folder, node, "smoke/smoke.mjs", live_sidecar.grpc_address))
