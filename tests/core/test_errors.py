"""The error family: every reason has a blame, a wire name and a place."""

from __future__ import annotations

import pytest

from sidecar.core.errors import Blame, Reason, UsherError, invalid_field, of_statement


def test_names_equal_values() -> None:
    assert all(reason.name == reason.value for reason in Reason)


@pytest.mark.parametrize(
    ("reason", "blame", "retryable"),
    [
        (Reason.INVALID_FIELD, Blame.CALLER, False),
        (Reason.ROW_LEVEL_SECURITY, Blame.CALLER, False),
        (Reason.SERIALIZATION_FAILURE, Blame.DATABASE, True),
        (Reason.DATABASE_UNAVAILABLE, Blame.DATABASE, True),
        (Reason.STATEMENT_TIMEOUT, Blame.DATABASE, False),
        (Reason.INTERNAL, Blame.SERVICE, False),
        (Reason.SHUTTING_DOWN, Blame.SERVICE, True),
        (Reason.SIGNING_UNAVAILABLE, Blame.SERVICE, True),
        (Reason.TOO_MANY_CALLS, Blame.SERVICE, True),
    ],
)
def test_blame_and_retry(reason: Reason, blame: Blame, retryable: bool) -> None:
    error = UsherError(reason, "what to do")
    assert (error.blame, error.retryable) == (blame, retryable)


def test_invalid_field_names_the_field_three_times() -> None:
    error = invalid_field("ttl", "must be positive", Reason.TTL_OUT_OF_RANGE)
    assert str(error) == "TTL_OUT_OF_RANGE: ttl: must be positive"
    assert error.metadata == {"field": "ttl"}
    assert [(violation.field, violation.description) for violation in error.violations] == [
        ("ttl", "must be positive")
    ]


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("sql", "statements[2].sql"),
        ("parameters[0]", "statements[2].parameters[0]"),
        ("options.max_rows", "statements[2].max_rows"),
        ("options.statement_timeout", "options.statement_timeout"),
    ],
)
def test_an_error_of_a_statement_names_its_field_three_times(field: str, named: str) -> None:
    error = of_statement(invalid_field(field, "must be other"), 2)
    assert error.message == f"{named}: must be other"
    assert error.metadata == {"field": named, "statement_index": "2"}
    assert [(violation.field, violation.description) for violation in error.violations] == [
        (named, "must be other")
    ]


def test_an_error_of_a_statement_without_a_field_says_which_it_was() -> None:
    found = UsherError(Reason.DEADLOCK, "two waited", {"sqlstate": "40P01"}, retry_after=3.0)
    error = of_statement(found, 0)
    assert (error.reason, error.message) == (Reason.DEADLOCK, "statements[0]: two waited")
    assert (error.metadata, error.retry_after) == ({"sqlstate": "40P01", "statement_index": "0"}, 3.0)
