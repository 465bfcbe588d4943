"""Answers become results or reasons; none shows a text that it should not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.errors import FieldViolation, Reason, UsherError
from sidecar.postgres.neon_http import answers
from sidecar.postgres.neon_http.answers import Reading, results

READ = Reading(read_only=True, queries=1)
WRITE = Reading(read_only=False, queries=1)
CANARY = "s3cret"
OK = {
    "fields": [{"name": "a", "dataTypeID": 23}],
    "rows": [["1"], [None]],
    "command": "SELECT",
    "rowCount": 2,
    "rowAsArray": True,
}


def refused(status: int, document: Any, reading: Reading = READ) -> UsherError:
    body = document if isinstance(document, bytes | None) else json.dumps(document).encode()
    with pytest.raises(UsherError) as error:
        results(status, body, reading)
    assert CANARY not in f"{error.value} {error.value.metadata}" or reading.show_messages
    return error.value


def test_results() -> None:
    body = json.dumps({"results": [OK, {**OK, "rowCount": None}]}).encode()
    first, second = results(200, body, replace(READ, queries=2))
    assert (first.names, first.oids, first.rows) == (["a"], [23], [["1"], [None]])
    assert (first.command, first.count, second.count) == ("SELECT", 2, None)


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"null", {"results": [OK, OK]}, {"results": [{}]}, {"results": 1}]
)
def test_an_answer_in_another_form(document: Any) -> None:
    assert refused(200, document).reason is Reason.DATABASE_ERROR
    error = refused(200, document, WRITE)
    assert (error.reason, error.metadata["committed"]) == (Reason.DATABASE_ERROR, "true")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"code": "42601", "routine": "exec_parse_message"}, Reason.MULTIPLE_STATEMENTS),
        ({"code": "42601", "routine": "scanner_yyerror"}, Reason.SQL_SYNTAX),
        ({"code": "42501", "routine": "ExecWithCheckOptions"}, Reason.ROW_LEVEL_SECURITY),
        ({"code": "42501", "routine": "aclcheck_error"}, Reason.INSUFFICIENT_PRIVILEGE),
        ({"code": "08P01", "routine": "exec_bind_message"}, Reason.PARAMETER_COUNT),
        ({"code": "08P01"}, Reason.DATABASE_UNAVAILABLE),
        ({"code": "57014"}, Reason.DATABASE_ERROR),
        ({"code": "57P01"}, Reason.DATABASE_UNAVAILABLE),
        ({"code": "08006", "routine": "exec_stmt_raise"}, Reason.RAISED_BY_DATABASE),
        ({"code": "53300"}, Reason.DATABASE_RESOURCES),
        ({"code": "US001", "routine": "exec_stmt_raise"}, Reason.CLAIMS_TAMPERED),
    ],
)
def test_what_postgres_says(said: dict[str, str], reason: Reason) -> None:
    assert refused(400, {"message": CANARY, "detail": CANARY, "hint": CANARY, **said}).reason is reason


def test_a_cancellation_is_the_timeouts_when_it_was_due() -> None:
    assert refused(400, {"code": "57014"}, replace(READ, timed_out=True)).reason is Reason.STATEMENT_TIMEOUT


def test_names_and_position_are_metadata() -> None:
    said = {
        "code": "23505",
        "message": CANARY,
        "schema": "s",
        "table": "t",
        "constraint": "c",
        "column": None,
        "dataType": "d",
    }
    assert refused(400, said).metadata == {
        "sqlstate": "23505", "schema": "s", "table": "t", "constraint": "c", "type": "d",
    }  # fmt: skip
    shifted = replace(READ, prefix=10)
    assert refused(400, {"code": "42703", "position": "15"}, shifted).metadata["position"] == "5"
    assert "position" not in refused(400, {"code": "42703", "position": "9"}, shifted).metadata
    shown = refused(400, said, replace(READ, show_messages=True))
    assert CANARY in shown.message


@pytest.mark.parametrize("status", [500, 502])
def test_a_session_that_could_not_be_made_is_for_the_operator(status: int) -> None:
    wrapped = json.dumps(json.dumps({"code": "42883", "message": CANARY})).encode()
    error = refused(status, wrapped, WRITE)
    assert (error.reason, error.metadata) == (Reason.DATABASE_NOT_INSTALLED, {"sqlstate": "42883"})
    assert refused(500, {"code": "53300"}).reason is Reason.DATABASE_RESOURCES


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("jwk not found", "JWKS URL"),
        ("password authentication failed for user 'jwk not found'", "JWKS URL"),
        ("invalid JWT token audience", "neon_audience"),
        ("JWT token has expired (exp=1)", "clocks"),
        ("JWT token is not yet ready to use (nbf=1)", "clocks"),
        ("signature algorithm not supported", "signature"),
        ("signature error", "signature"),
        ("unsupported key type OKP", "ES256"),
        ("invalid RSA key", "ES256"),
        ("missing key id", "cannot read"),
        ("Provided authentication token is not a valid JWT encoding", "cannot read"),
    ],
)
def test_a_refused_token_says_what_to_look_at(text: str, remedy: str) -> None:
    error = refused(400, {"message": f"{text} {CANARY}", "code": ""}, WRITE)
    assert error.reason is Reason.DATABASE_NOT_INSTALLED
    assert remedy in error.message
    assert CANARY in refused(400, {"message": f"{text} {CANARY}"}, replace(READ, show_messages=True)).message


def test_rules_that_cannot_be_had_pass() -> None:
    error = refused(400, {"message": "failed to fetch auth rules", "code": ""}, WRITE)
    assert (error.reason, error.retryable) == (Reason.DATABASE_UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (400, {"message": "connection closed", "code": ""}),
        (500, {"message": "connection closed", "code": ""}),
        (502, b"<html>"),
        (504, b""),
        (500, json.dumps("no object").encode()),
        (400, {"code": "57P01", "message": "terminating connection"}),
        (400, {"code": "08006"}),
    ],
)
def test_an_open_outcome_is_safe_to_repeat_for_reads_alone(status: int, document: Any) -> None:
    read, write = refused(status, document), refused(status, document, WRITE)
    assert (read.reason, read.retryable) == (Reason.DATABASE_UNAVAILABLE, True)
    assert (write.reason, write.retryable) == (Reason.DATABASE_ERROR, False)
    assert write.metadata["sqlstate"] == "08007"


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (507, {"message": "response is too large"}, Reason.RESULT_TOO_LARGE),
        (413, b"", Reason.INVALID_FIELD),
        (429, b"", Reason.DATABASE_RESOURCES),
        (301, b"", Reason.DATABASE_NOT_INSTALLED),
        (403, b"", Reason.DATABASE_NOT_INSTALLED),
        (404, b"", Reason.DATABASE_NOT_INSTALLED),
        (500, {"message": "could not parse postgres response"}, Reason.DATA_EXCEPTION),
    ],
)
def test_statuses(status: int, document: Any, reason: Reason) -> None:
    error = refused(status, document, WRITE)
    assert error.reason is reason
    assert "committed" not in error.metadata


def test_an_answer_that_is_too_long_was_committed_if_it_wrote() -> None:
    assert "committed" not in refused(200, None).metadata
    error = refused(200, None, WRITE)
    assert (error.reason, error.metadata["committed"]) == (Reason.RESULT_TOO_LARGE, "true")


def test_after_the_commit_no_error_is_safe_to_repeat() -> None:
    lost = UsherError(Reason.DATABASE_UNAVAILABLE, "gone", {"a": "b"}, (FieldViolation("f", "d"),))
    after = answers.after_commit(lost, read_only=False)
    assert (after.reason, after.retryable) == (Reason.DATABASE_ERROR, False)
    assert after.metadata == {"a": "b", "committed": "true"}
    assert after.violations == lost.violations
    assert answers.after_commit(lost, read_only=True) is lost
