"""`usher query --stream` against a sidecar. As a process: tests/clients/test_command_line.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sidecar.cli.streaming import DEADLINE_SECONDS
from sidecar.config import Config
from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import ResultSet
from tests.cli.conftest import Done, Sidecar, Usher
from tests.cli.test_query import USERS
from tests.rpc.running import integers


def stream(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("query", "--address", sidecar.address, "--sub", "alice", "--stream", *arguments)


def test_rows_as_csv(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = USERS
    done = stream(usher, sidecar, "--output", "csv", "select * from users")
    assert (done.code, done.err) == (0, "usher: SELECT 2\n")
    assert done.out == "id,name,id\n9223372036854775807,Zoë,3\n2,,4\n"


@pytest.mark.parametrize("form", [("--json",), ("--output", "json")])
def test_rows_as_json(usher: Usher, sidecar: Sidecar, form: tuple[str, ...]) -> None:
    sidecar.parts.backend.result = USERS
    done = stream(usher, sidecar, *form, "select * from users")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"id": 2**63 - 1, "name": "Zoë", "id_2": 3},
        {"id": 2, "name": None, "id_2": 4},
    ]


def test_what_is_sent(usher: Usher, sidecar: Sidecar) -> None:
    limits = ("--max-rows", str(2**40), "--statement-timeout", "1500ms")
    assert stream(usher, sidecar, "--json", *limits, "select $1, $2", "a", "b").code == 0
    (statement,) = sidecar.parts.backend.statements
    assert (statement.sql, statement.max_rows, statement.timeout) == ("select $1, $2", 2**40, 1.5)
    assert [parameter.value for parameter in statement.parameters] == ["a", "b"]
    assert stream(usher, sidecar, "--json", "@missing").err.count("NAMED_STATEMENT_UNKNOWN") == 2
    assert stream(usher, sidecar, "--json", f"--max-rows={2**63}", "select 1").code == 2


@pytest.mark.parametrize("form", [(), ("--output", "table")])
def test_a_table_is_refused_with_what_to_do(usher: Usher, sidecar: Sidecar, form: tuple[str, ...]) -> None:
    done = stream(usher, sidecar, *form, "select 1")
    assert (done.code, "give --output csv or json" in done.err) == (2, True)
    assert sidecar.parts.backend.statements == []


def test_rows_that_were_cut_are_said_apart(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = replace(integers(1), truncated=True)
    done = stream(usher, sidecar, "--json", "select 1")
    assert (done.code, done.out) == (0, '{"id": 1}\n')
    assert done.err.startswith("usher: SELECT 1; more rows were there")


def test_an_error_comes_after_the_rows_before_it(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.failure = UsherError(Reason.DATA_EXCEPTION, "a value could not be processed")
    done = stream(usher, sidecar, "--output", "csv", "select 1")
    assert (done.code, done.out) == (1, "id\n1\n2\n3\n")
    assert done.err == "usher: INVALID_ARGUMENT DATA_EXCEPTION: a value could not be processed\n"


@pytest.mark.parametrize("output", ["csv", "json"])
def test_nothing_at_all(usher: Usher, sidecar: Sidecar, output: str) -> None:
    sidecar.parts.backend.result = ResultSet(
        columns=(), data=(), row_count=0, truncated=False, command_tag="SELECT 0", affected_rows=0
    )
    done = stream(usher, sidecar, "--output", output, "select")
    assert (done.code, done.out, done.err) == (0, "", "usher: SELECT 0\n")


def test_it_may_take_as_long_as_the_server_lets_it() -> None:
    assert Config().max_stream_deadline == DEADLINE_SECONDS


def test_the_deadline_can_be_chosen(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.released.clear()
    done = stream(usher, sidecar, "--json", "--timeout", "300ms", "select 1")
    assert (done.code, len(done.out.splitlines())) == (1, 3)
    assert "deadline passed" in done.err or "not all rows came" in done.err
