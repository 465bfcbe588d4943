"""The double stands up to Neon's own driver, and the backend sends what that driver sends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.neon.standing import ROLES, Standing, token
from tests.postgres.scoped import ALICE, query

FOLDER = Path(__file__).parent / "driver"
SECONDS = 120


def toolchain(name: str) -> str:
    """The path of a program; without it the test is skipped, and fails when CI=true."""
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"`{name}` is not installed, and CI=true")
    pytest.skip(f"`{name}` is not installed")


async def run(*command: str) -> str:
    """Runs a command in the driver's folder; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=FOLDER,
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


async def driven(there: Standing) -> Any:
    """What the driver made of the double."""
    node, npm = toolchain("node"), toolchain("npm")
    await run(npm, "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
    connection = there.target.connection_string(ROLES[0]).replace("@", ":any@")
    return json.loads(
        await run(node, "driver.mjs", there.url, connection, token(there, "alice", tenant_id="acme"))
    )


async def test_the_official_driver_gets_on_with_the_double(there: Standing) -> None:
    got = await driven(there)
    assert got["jwtAuth"] is True
    assert got["rows"] == [{"id": "alice", "name": "Alice Archer"}]
    (values,) = got["values"]
    assert values == {
        "n": 1,
        "big": "9007199254740993",
        "x": "1.50",
        "yes": True,
        "nothing": None,
        "doc": {"a": [1, None]},
        "list": [1, None, 3],
        "t": 'ü"',
        "b": {"type": "Buffer", "data": [0, 255]},
    }
    assert got["arrays"]["rows"] == [["alice", "acme"]]
    assert got["arrays"]["rowAsArray"] is True
    assert (got["arrays"]["command"], got["arrays"]["rowCount"]) == ("SELECT", 1)
    names = [(field["name"], field["dataTypeID"], field["format"]) for field in got["arrays"]["fields"]]
    assert names == [("id", 25, "text"), ("tenant_id", 25, "text")]
    assert got["parameters"] == [{"n": 7, "yes": True, "doc": {"a": 1}, "list": [1, None, 2], "t": None}]
    inserted, read, deleted = got["transaction"]
    assert (inserted["command"], inserted["rowCount"], read["rows"]) == ("INSERT", 1, [{"body": "first"}])
    assert (deleted["command"], deleted["rowCount"]) == ("DELETE", 1)
    assert (got["readOnly"]["name"], got["readOnly"]["code"]) == ("NeonDbError", "25006")
    rolled_back = got["rolledBack"]
    assert (rolled_back["code"], rolled_back["constraint"], rolled_back["table"]) == (
        "23505",
        "notes_pkey",
        "notes",
    )
    assert got["afterRollback"] == [{"n": 0}]
    syntax = got["syntax"]
    assert (syntax["code"], syntax["severity"], syntax["position"]) == ("42601", "ERROR", "13")
    assert got["badToken"]["message"].endswith("is not a valid JWT encoding")


async def test_the_backend_sends_what_the_driver_sends(there: Standing) -> None:
    await driven(there)
    by_driver = list(there.endpoint.asked)
    there.endpoint.asked.clear()
    await query(there.backend, ALICE, "select id from users where id = $1", "alice", read_only=True)
    ours = there.endpoint.asked[-1]
    transaction = next(asked for asked in by_driver if "Neon-Batch-Read-Only" in asked.headers)
    # The driver takes the password off when it has a token.
    assert _neons(ours.headers) == _neons(transaction.headers)
    assert ours.headers["Neon-Connection-String"] == there.target.connection_string(ROLES[0])
    assert _bearer(ours.headers) == _bearer(transaction.headers) == "Bearer ey"

    def shape(document: Any) -> Any:
        """The names in a request, and what kind of thing each holds."""
        if isinstance(document, dict):
            return {name: shape(value) for name, value in document.items()}
        if isinstance(document, list):
            return [shape(document[0])] if document else []
        return type(document).__name__

    batches = [asked.document for asked in by_driver if "queries" in asked.document]
    assert {json.dumps(shape(document), sort_keys=True) for document in batches} == {
        json.dumps({"queries": [{"params": ["str"], "query": "str"}]}, sort_keys=True),
        json.dumps({"queries": [{"params": [], "query": "str"}]}, sort_keys=True),
    }
    assert all(
        set(one) == {"query", "params"} and all(isinstance(value, str | None) for value in one["params"])
        for document in [*batches, ours.document]
        for one in document["queries"]
    )


def _neons(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("Neon-")}


def _bearer(headers: Mapping[str, str]) -> str:
    return headers["Authorization"][:9]
