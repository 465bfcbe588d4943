"""`usher transaction` against a sidecar."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.errors import Reason, UsherError, of_statement
from sidecar.core.transactions import Isolation
from tests.cli.conftest import Done, Sidecar, Usher
from tests.cli.test_query import USERS
from tests.rpc.running import integers


def transaction(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("transaction", "--address", sidecar.address, "--sub", "alice", *arguments)


def test_statements_go_in_their_order_each_with_its_parameters(
    usher: Usher, sidecar: Sidecar, tmp_path: Path
) -> None:
    script = tmp_path / "script.sql"
    script.write_text("select $1, 2")
    first, second = ("--sql", "select $1, $2"), ("--file", str(script))
    parameters = ("--param", "a", "--param", "-five")
    done = transaction(usher, sidecar, *first, *parameters, *second, "--param", "b", "--sql", "select 3")
    assert (done.code, done.err) == (0, "")
    sent = sidecar.parts.backend.statements
    assert [statement.sql for statement in sent] == ["select $1, $2", "select $1, 2", "select 3"]
    values = [[parameter.value for parameter in statement.parameters] for statement in sent]
    assert values == [["a", "-five"], ["b"], []]
    assert sidecar.parts.backend.isolation is Isolation.READ_COMMITTED


@pytest.mark.parametrize("level", ["read-committed", "repeatable-read", "serializable"])
def test_the_isolation_is_chosen(usher: Usher, sidecar: Sidecar, level: str) -> None:
    assert transaction(usher, sidecar, "--isolation", level, "--sql", "select 1").code == 0
    assert sidecar.parts.backend.isolation == level.replace("-", " ").upper()


def test_results_as_tables(usher: Usher, sidecar: Sidecar) -> None:
    done = transaction(usher, sidecar, "--sql", "select 1", "--sql", "select 2")
    table = "id\n--\n1\n2\n3\nSELECT 3\n"
    assert (done.out, done.err) == (f"{table}\n{table}", "")


def test_results_as_json(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = USERS
    done = transaction(usher, sidecar, "--json", "--sql", "select 1", "--sql", "select 2")
    rows = [{"id": 2**63 - 1, "name": "Zoë", "id_2": 3}, {"id": 2, "name": None, "id_2": 4}]
    wanted = {"command_tag": "SELECT 2", "truncated": False, "rows": rows}
    assert [json.loads(line) for line in done.out.splitlines()] == [wanted, wanted]


def test_rows_that_were_cut_are_said_of_their_statement(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = replace(integers(1), truncated=True)
    done = transaction(usher, sidecar, "--sql", "select 1", "--sql", "select 2")
    assert done.code == 0
    for line, at in zip(done.err.splitlines(), (0, 1), strict=True):
        assert line.startswith(f"usher: statements[{at}]: more rows were there")


def test_a_named_statement(usher: Usher, sidecar: Sidecar) -> None:
    done = transaction(usher, sidecar, "--sql", "select 1", "--sql", "@missing", "--param", "7")
    assert done.code == 1
    assert done.err.startswith("usher: NOT_FOUND NAMED_STATEMENT_UNKNOWN: statements[1].statement: ")


def test_the_statement_at_fault_is_named(usher: Usher, sidecar: Sidecar) -> None:
    failed = UsherError(Reason.ROW_LEVEL_SECURITY, "a policy refused the new row")
    sidecar.parts.backend.failure = of_statement(failed, 1)
    done = transaction(usher, sidecar, "--json", "--sql", "select 1", "--sql", "select 2")
    assert (done.code, done.out) == (1, "")
    error = json.loads(done.err)["error"]
    assert (error["reason"], error["statement_index"]) == ("ROW_LEVEL_SECURITY", 1)
    assert "statements[1]" in error["message"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "say what to run"),
        (("--param", "1", "--sql", "select $1"), "--param: it belongs to the statement before it"),
        (("--isolation", "chaos", "--sql", "select 1"), "invalid choice"),
    ],
)
def test_what_is_wrong_sends_nothing(
    usher: Usher, sidecar: Sidecar, arguments: tuple[str, ...], expected: str
) -> None:
    done = transaction(usher, sidecar, *arguments)
    assert (done.code, expected in done.err) == (2, True)
    assert sidecar.parts.backend.statements == []


def test_without_a_scope_nothing_is_sent(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("transaction", "--address", sidecar.address, "--sql", "select 1")
    assert (done.code, "say as whom" in done.err) == (2, True)
