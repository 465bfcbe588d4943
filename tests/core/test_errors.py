"""The error family: every reason has a blame, a wire name and a place."""

from __future__ import annotations

import pytest

from sidecar.core.errors import Blame, Reason, UsherError, invalid_field


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
