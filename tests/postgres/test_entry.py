"""What stands before a statement: all of it before the first, the identity alone before each other one."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.postgres.entry import Entry, cannot_become
from sidecar.postgres.wire import Step

BEGIN, CLAIMS, ASKED = (Step(sql=sql) for sql in ("BEGIN", "SELECT claims", "SELECT asked"))
ENTRY = Entry(
    role="authenticated",
    begin=(BEGIN,),
    identity=(CLAIMS, ASKED),
    by_number=True,
    explain=lambda step, error: UsherError(Reason.INTERNAL, f"step {step}"),
)


def test_a_further_statement_becomes_the_scopes_again_without_beginning() -> None:
    again = ENTRY.again()
    assert ENTRY.steps == (BEGIN, CLAIMS, ASKED)
    assert [step.sql for step in again.steps] == ["CLOSE usher_result", "SELECT claims", "SELECT asked"]
    assert again.again().steps == again.steps
    assert not again.by_number  # a number that is lost by then is no reason to begin anew


@pytest.mark.parametrize("state", ["US001", "55000", "22023", "23514"])
def test_what_was_believed_and_no_longer_is_was_tampered_with(state: str) -> None:
    error = asyncpg.PostgresError.new({"C": state, "M": "refused"})
    for again in (ENTRY.again(), ENTRY.again().again()):
        explained = again.explain(1, error)
        assert explained is not None
        assert explained.reason is Reason.CLAIMS_TAMPERED
    explained = ENTRY.explain(1, error)
    assert explained is not None
    assert explained.message == "step 1"


def test_other_failures_are_explained_as_those_of_the_first() -> None:
    explained = ENTRY.again().explain(1, asyncpg.PostgresError.new({"C": "42501", "M": "denied"}))
    assert explained is not None
    assert explained.message == "step 1"


def test_a_role_that_cannot_be_had_is_the_databases_fault() -> None:
    assert cannot_become("editor").reason is Reason.DATABASE_NOT_INSTALLED
    assert "editor" in cannot_become("editor").message
