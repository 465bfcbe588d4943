"""`usher query` and `usher whoami` against a sidecar."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.cli.statements import DEADLINE_SECONDS
from sidecar.config import Config
from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import NULL, Column, Kind, Parameter, ResultSet
from tests.cli.conftest import Done, Sidecar, Usher
from tests.rpc.running import integers

USERS = ResultSet(
    columns=(
        Column(name="id", type_name="int8", type_oid=20, kind=Kind.INT),
        Column(name="name", type_name="text", type_oid=25, kind=Kind.TEXT),
        Column(name="id", type_name="int8", type_oid=20, kind=Kind.INT),
    ),
    data=([2**63 - 1, 2], ["Zoë", None], [3, 4]),
    row_count=2,
    truncated=False,
    command_tag="SELECT 2",
    affected_rows=2,
)


def query(usher: Usher, sidecar: Sidecar, *arguments: str) -> Done:
    return usher("query", "--address", sidecar.address, "--sub", "alice", *arguments)


def test_a_named_statement(usher: Usher, sidecar: Sidecar) -> None:
    done = query(usher, sidecar, "@missing", "7")
    assert done.code == 1
    assert done.err.startswith("usher: NOT_FOUND NAMED_STATEMENT_UNKNOWN: statement: this server holds no")
    assert sidecar.parts.backend.statements == []


def test_rows_as_a_table(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = USERS
    done = query(usher, sidecar, "select * from users")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "id                  | name | id\n"
        "--------------------+------+---\n"
        "9223372036854775807 | Zoë  | 3\n"
        "2                   |      | 4\n"
        "SELECT 2\n"
    )


def test_rows_as_json_lose_no_column(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = USERS
    lines = query(usher, sidecar, "--json", "select * from users").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": 2**63 - 1, "name": "Zoë", "id_2": 3},
        {"id": 2, "name": None, "id_2": 4},
    ]


def test_rows_that_were_cut_are_said_apart(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = replace(integers(1), truncated=True)
    for form in ((), ("--json",)):
        done = query(usher, sidecar, *form, "select 1")
        assert done.code == 0
        assert "more rows were there" in done.err
        assert "more rows" not in done.out


def test_a_statement_without_rows(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = ResultSet(
        columns=(), data=(), row_count=0, truncated=False, command_tag="DELETE 3", affected_rows=3
    )
    assert query(usher, sidecar, "delete from users").out == "DELETE 3\n"
    assert query(usher, sidecar, "--json", "delete from users").out == ""


def test_what_is_sent(usher: Usher, sidecar: Sidecar) -> None:
    query(
        usher,
        sidecar,
        "--read-only",
        "--max-rows",
        "7",
        "--claim",
        "tenant_id=acme",
        "select $1, $2",
        "a",
        "-five",
    )
    (statement,) = sidecar.parts.backend.statements
    assert (statement.sql, statement.read_only, statement.max_rows) == ("select $1, $2", True, 7)
    assert statement.parameters == (Parameter(Kind.TEXT, "a"), Parameter(Kind.TEXT, "-five"))
    assert NULL not in statement.parameters
    (scope,) = sidecar.parts.backend.scopes
    assert (scope.subject, scope.payload["tenant_id"]) == ("alice", "acme")


def test_the_statement_is_read_from_standard_input(
    usher: Usher, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("select 1\n"))
    query(usher, sidecar, "-")
    assert sidecar.parts.backend.statements[0].sql == "select 1\n"


def test_the_statement_is_read_from_a_file(usher: Usher, sidecar: Sidecar, tmp_path: Path) -> None:
    script = tmp_path / "report.sql"
    script.write_text("\ufeffselect $1, $2\n", "utf-8")
    assert query(usher, sidecar, "--file", str(script), "a", "b").code == 0
    (statement,) = sidecar.parts.backend.statements
    assert statement.sql == "select $1, $2\n"
    assert [parameter.value for parameter in statement.parameters] == ["a", "b"]


def test_nothing_to_run(usher: Usher, sidecar: Sidecar) -> None:
    done = query(usher, sidecar)
    assert (done.code, "say what to run" in done.err) == (2, True)


def test_rows_as_csv(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.result = USERS
    done = query(usher, sidecar, "--output", "csv", "select * from users")
    assert (done.code, done.err) == (0, "")
    assert done.out == "id,name,id\n9223372036854775807,Zoë,3\n2,,4\n"
    assert query(usher, sidecar, "--output", "json", "select 1").out.startswith('{"id": 9223372036854775807')
    assert query(usher, sidecar, "--output", "csv", "--json", "select 1").code == 2


def test_limits_of_time(usher: Usher, sidecar: Sidecar) -> None:
    assert query(usher, sidecar, "--statement-timeout", "1500ms", "select 1").code == 0
    (statement,) = sidecar.parts.backend.statements
    assert statement.timeout == 1.5
    assert query(usher, sidecar, "select 1").code == 0
    for text in ("soon", "0s", "25h", "-1s"):
        done = query(usher, sidecar, f"--timeout={text}", "select 1")
        assert (done.code, "argument --timeout: expected" in done.err) == (2, True)


def test_the_deadline_is_longer_than_the_statement_may_run() -> None:
    """Else the caller would be told that a deadline passed, rather than what took so long."""
    assert Config().statement_timeout + 5 <= DEADLINE_SECONDS <= Config().max_deadline


def test_a_token_as_the_scope(usher: Usher, sidecar: Sidecar) -> None:
    token = usher("token", "issue", "--address", sidecar.address, "--sub", "bob").out.strip()
    assert usher("query", "--address", sidecar.address, "--token", token, "select 1").code == 0
    assert sidecar.parts.backend.scopes[0].subject == "bob"


def test_a_refusal_of_the_database(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.failure = UsherError(Reason.ROW_LEVEL_SECURITY, "a policy refused the new row")
    done = query(usher, sidecar, "insert into users values (1)")
    assert (done.code, done.out) == (1, "")
    assert done.err == "usher: PERMISSION_DENIED ROW_LEVEL_SECURITY: a policy refused the new row\n"


def test_without_a_scope_nothing_is_sent(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("query", "--address", sidecar.address, "select 1")
    assert (done.code, "say as whom" in done.err) == (2, True)


def test_whoami(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("whoami", "--address", sidecar.address, "--sub", "alice")
    assert json.loads(done.out) == {
        "role": "authenticated",
        "login_role": "usher_app",
        "user_id": "alice",
        "session": '{"sub":"alice"}',
        "backend_kind": "scripted",
        "claims_age": "1.500s",
        "row_security_applies": True,
        "database": "app",
        "server_version": 180_004,
    }
