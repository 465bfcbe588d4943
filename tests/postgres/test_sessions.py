"""What begins a transaction and what cleans a session, as text; test_pool.py has what they do."""

from __future__ import annotations

import re

import pytest

from sidecar.core.transactions import Isolation
from sidecar.postgres.sessions import SESSION_SETTINGS, Pooling, head, scrub


@pytest.mark.parametrize(
    ("read_only", "isolation", "expected"),
    [
        (False, None, "BEGIN"),
        (True, None, "BEGIN READ ONLY"),
        (True, Isolation.SERIALIZABLE, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"),
    ],
)
def test_a_session_of_its_own_only_begins(
    read_only: bool, isolation: Isolation | None, expected: str
) -> None:
    assert head(Pooling.DIRECT, read_only=read_only, isolation=isolation) == expected


@pytest.mark.parametrize("read_only", [True, False])
def test_a_shared_session_is_cleaned_and_set_in_the_transaction(read_only: bool) -> None:
    text = head(Pooling.TRANSACTION, read_only=read_only, isolation=Isolation.REPEATABLE_READ)
    # What cleans it writes; only then may it be read-only.
    assert text.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ" + ("; " if read_only else " READ WRITE; "))
    assert text.endswith("SET TRANSACTION READ ONLY") is read_only
    assert text.index("DISCARD TEMP") < text.index("SET LOCAL")
    for name, value in SESSION_SETTINGS.items():
        assert f"SET LOCAL {name} = '{value}'; " in text


def test_no_two_scrubs_leave_the_same_random_numbers() -> None:
    seeds = {re.search(r"setseed\((-?[0-9.e-]+)\)", scrub())[1] for _ in range(5)}  # type: ignore[index]
    assert len(seeds) == 5
    assert all(-1 <= float(seed) <= 1 for seed in seeds)
