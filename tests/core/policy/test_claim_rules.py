"""What one claim may be: types are kept apart, and lists are checked element by element."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.policy.claim_rules import ListedClaim, same
from sidecar.core.policy.patterns import parse

RULE = ListedClaim(texts=(parse("orders:*"), parse("7")), scalars=(7, 1.5, True))


@pytest.mark.parametrize(
    "value",
    ["orders:read", "7", 7, 7.0, 1.5, True, [], ["orders:read", "7"], ["orders:write", 7, True]],
)
def test_what_is_listed(value: Any) -> None:
    assert RULE.allows(value)


@pytest.mark.parametrize(
    "value",
    ["", "bills:read", "true", 8, 1, 0, False, None, {}, {"a": 7}, ["orders:read", "x"], [None], [[7]], [{}]],
)
def test_what_is_not(value: Any) -> None:
    assert not RULE.allows(value)


def test_true_is_no_number() -> None:
    assert not ListedClaim(scalars=(1,)).allows(True)
    assert not ListedClaim(scalars=(True,)).allows(1)
    assert not ListedClaim(scalars=(True,)).allows(1.0)


@pytest.mark.parametrize("value", [None, {}, {"a": [1]}, "x", [None]])
def test_any_is_any(value: Any) -> None:
    assert ListedClaim(any=True).allows(value)
    assert value == [] or not ListedClaim().allows(value)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (7, 7.0, True),
        (1, True, False),
        ([1, "a"], [1.0, "a"], True),
        ([1], [True], False),
        ([1, 2], [1], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("1", 1, False),
        (None, None, True),
        (None, False, False),
        ([], {}, False),
    ],
)
def test_json_equality(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected
