"""What `usher query` and `usher transaction` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Done, Sidecar, Usher

BOTH = [("query", "select 1"), ("transaction", "--sql", "select 1")]


def run(usher: Usher, sidecar: Sidecar, verb: str, *arguments: str) -> Done:
    return usher(verb, "--address", sidecar.address, "--sub", "alice", *arguments)


@pytest.mark.parametrize("rows", ["-1", str(2**32), "many"])
@pytest.mark.parametrize("command", BOTH)
def test_a_number_of_rows_that_is_none(
    usher: Usher, sidecar: Sidecar, command: tuple[str, ...], rows: str
) -> None:
    assert run(usher, sidecar, *command, f"--max-rows={rows}").code == 2
    assert sidecar.parts.backend.statements == []


@pytest.mark.parametrize("command", BOTH)
def test_limits_are_sent(usher: Usher, sidecar: Sidecar, command: tuple[str, ...]) -> None:
    done = run(usher, sidecar, *command, "--max-rows", "7", "--statement-timeout", "1500ms", "--read-only")
    assert (done.code, done.err) == (0, "")
    (statement,) = sidecar.parts.backend.statements
    assert (statement.max_rows, statement.timeout, statement.read_only) == (7, 1.5, True)


@pytest.mark.parametrize("verb", ["query", "transaction"])
@pytest.mark.parametrize(
    ("content", "expected"), [(None, "cannot be read (No such file"), (b"\xff", "is not UTF-8 text")]
)
def test_a_file_that_holds_no_statement(
    usher: Usher, sidecar: Sidecar, tmp_path: Path, verb: str, content: bytes | None, expected: str
) -> None:
    script = tmp_path / "script.sql"
    if content is not None:
        script.write_bytes(content)
    done = run(usher, sidecar, verb, "--file", str(script))
    assert (done.code, expected in done.err) == (2, True)
    assert sidecar.parts.backend.statements == []
