"""Errors by SQLSTATE: each has a documented reason, and none shows a value."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import Blame, Reason, UsherError
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble, translate
from tests.postgres.scoped import as_role, connected

CANARY = "s3cret-value"
# The fields of an ErrorResponse that may hold values of rows, parameters and statements.
VALUES = {"M": CANARY, "D": CANARY, "H": CANARY, "q": CANARY, "W": CANARY, "p": "7"}


def raised(sqlstate: str, **fields: str) -> Any:
    """The error that asyncpg makes of an ErrorResponse; keys as in the protocol."""
    return asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, **VALUES, **fields}, query=CANARY)


def documented() -> list[tuple[str, str]]:
    """SQLSTATE and reason of each row of docs/errors.md; a class stands for a state of it."""
    text = (Path(__file__).parents[2] / "docs/errors.md").read_text()
    found = []
    for reason, states in re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]+) \|", text, re.MULTILINE):
        if "from" not in states:
            found += [(state, reason) for state in re.findall(r"`(\w{5})`", states)]
            found += [(f"{name}ZZZ", reason) for name in re.findall(r"class (\w\w)", states)]
    return found


@pytest.mark.parametrize(("sqlstate", "reason"), documented())
def test_what_the_documentation_says_of_a_sqlstate_holds(sqlstate: str, reason: str) -> None:
    assert translate(raised(sqlstate), timed_out=True).reason == reason


def test_the_documentation_names_sqlstates() -> None:
    assert len(documented()) > 30


@given(
    sqlstate=st.from_regex(r"[0-9A-Z]{5}", fullmatch=True) | st.text(max_size=8),
    routine=st.sampled_from(["", "ExecWithCheckOptions", "exec_parse_message", "exec_stmt_raise"]),
    timed_out=st.booleans(),
)
def test_any_sqlstate_has_a_reason_and_no_error_shows_a_value(
    sqlstate: str, routine: str, timed_out: bool
) -> None:
    error = raised(sqlstate, R=routine)
    assert isinstance(error, DRIVER_ERRORS)
    told = translate(error, timed_out=timed_out)
    assert told.reason in Reason
    assert told.reason is not Reason.INTERNAL
    assert CANARY not in f"{told} {told.metadata}"
    assert told.metadata == {"sqlstate": sqlstate}
    if routine == "exec_stmt_raise":  # a function cannot speak for the server
        assert told.reason is Reason.RAISED_BY_DATABASE or told.reason.value not in (
            "DATABASE_UNAVAILABLE",
            "DATABASE_RESOURCES",
            "STATEMENT_TIMEOUT",
            "DATABASE_ERROR",
        )


def test_names_of_the_schema_are_told() -> None:
    told = translate(raised("23505", s="public", t="users", n="users_pkey", c="id", d="text", P="12"))
    assert told.reason is Reason.UNIQUE_VIOLATION
    assert dict(told.metadata) == {
        "sqlstate": "23505",
        "schema": "public",
        "table": "users",
        "column": "id",
        "constraint": "users_pkey",
        "type": "text",
        "position": "12",
    }
    assert "table users, column id, constraint users_pkey" in told.message
    assert "at character 12" in told.message
    assert CANARY not in told.message


def test_the_operator_may_ask_for_postgres_own_message() -> None:
    assert CANARY in translate(raised("23505"), show_message=True).message


def test_a_policy_is_told_from_a_privilege_by_who_raised_it() -> None:
    assert translate(raised("42501", R="ExecWithCheckOptions")).reason is Reason.ROW_LEVEL_SECURITY
    assert translate(raised("42501", R="aclcheck_error")).reason is Reason.INSUFFICIENT_PRIVILEGE
    assert translate(raised("42501", R="exec_stmt_raise")).reason is Reason.INSUFFICIENT_PRIVILEGE


def test_a_cancellation_is_a_timeout_only_when_the_time_was_over() -> None:
    assert translate(raised("57014"), timed_out=True).reason is Reason.STATEMENT_TIMEOUT
    other = translate(raised("57014"))
    assert other.reason is Reason.DATABASE_ERROR
    assert "cancelled" in other.message


@pytest.mark.parametrize("sqlstate", ["01000", "02000", "02001"])
def test_classes_that_asyncpg_takes_for_warnings_are_errors_too(sqlstate: str) -> None:
    error = raised(sqlstate)
    assert not isinstance(error, asyncpg.PostgresError)
    assert isinstance(error, DRIVER_ERRORS)
    assert translate(error).reason is Reason.DATABASE_ERROR


def test_an_unknown_outcome_is_not_offered_for_retry() -> None:
    assert not translate(raised("08007")).retryable
    assert translate(raised("08006")).retryable


def test_what_the_server_said_before_it_hung_up_counts() -> None:
    lost = asyncpg.ConnectionDoesNotExistError(CANARY)
    assert translate(lost).reason is Reason.DATABASE_UNAVAILABLE
    lost.__cause__ = raised("57P01")
    assert translate(lost).metadata["sqlstate"] == "57P01"
    lost.__cause__ = raised("25P03")
    assert translate(lost).reason is Reason.STATEMENT_TIMEOUT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.InterfaceError(CANARY), Reason.DATABASE_UNAVAILABLE),
        (asyncpg.InternalClientError(CANARY), Reason.DATABASE_UNAVAILABLE),
        (ConnectionResetError(104, CANARY), Reason.DATABASE_UNAVAILABLE),
        (TimeoutError(CANARY), Reason.DATABASE_UNAVAILABLE),
        (UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY), Reason.DATA_EXCEPTION),
    ],
)
def test_errors_on_this_side_show_no_value_either(error: Exception, reason: Reason) -> None:
    assert isinstance(error, DRIVER_ERRORS)
    told = translate(error)
    assert told.reason is reason
    assert CANARY not in str(told)


async def test_an_argument_that_asyncpg_refuses_is_not_shown(postgres_dsn: str) -> None:
    async with connected(postgres_dsn) as connection:
        with pytest.raises(asyncpg.DataError, match=CANARY) as refused:
            await connection.fetchval("SELECT $1::int", CANARY)
    for told in (translate(refused.value), translate(refused.value, show_message=True)):
        assert told.reason is Reason.PARAMETER_TYPE
        assert CANARY not in str(told)


def test_a_fault_of_ours_is_none_of_the_drivers() -> None:
    assert not isinstance(KeyError(CANARY), DRIVER_ERRORS)
    told = translate(KeyError(CANARY))
    assert (told.reason, told.blame) == (Reason.INTERNAL, Blame.SERVICE)
    assert CANARY not in str(told)


def test_an_error_of_usher_stays_itself() -> None:
    error = UsherError(Reason.READ_ONLY, "as it was")
    assert translate(error) is error


async def test_why_no_connection_can_be_had_gives_nothing_away(postgres_dsn: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://u:{CANARY}@127.0.0.1:{free.getsockname()[1]}/db"
        assert await trouble(nobody) == "the database refuses the connection; is it running?"
    assert await trouble(as_role(postgres_dsn, CANARY)) == "the database refuses the login in database_url"
    elsewhere = f"{postgres_dsn.rpartition('/')[0]}/{CANARY}"
    assert await trouble(elsewhere) == "the database named in database_url does not exist"
    assert await trouble(f"{postgres_dsn}?sslmode=verify-full") != ""
    assert "PG variable" in await trouble(f"{postgres_dsn}?sslmode={CANARY}")


async def trouble(dsn: str) -> str:
    with pytest.raises(DRIVER_ERRORS) as refused:
        await asyncpg.connect(dsn)
    text = connection_trouble(refused.value)
    assert not re.search(rf"{CANARY}|127\.0\.0\.1", text)
    return text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.TooManyConnectionsError(CANARY), "no free connection slot"),
        (asyncpg.CannotConnectNowError(CANARY), "starting or shutting down"),
        (TimeoutError(CANARY), "does not answer in time"),
        (ssl.SSLCertVerificationError(1, CANARY), "TLS"),
        (socket.gaierror(-2, CANARY), "host name"),
        (OSError(f"Multiple exceptions: {CANARY}"), "cannot be reached"),
        (OSError(113, CANARY), "cannot be reached (No route to host)"),
    ],
)
def test_other_causes_have_words_of_their_own(error: Exception, words: str) -> None:
    assert words in connection_trouble(error)
    assert CANARY not in connection_trouble(error)
