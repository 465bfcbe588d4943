"""The rules' own defaults: nothing is open."""

from __future__ import annotations

from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, Rate, Rules


def test_a_caller_without_rules_may_do_nothing() -> None:
    nothing = Rules()
    assert not nothing.methods
    assert not nothing.subjects
    assert not nothing.statements
    assert (nothing.free_sql, nothing.other_claims, nothing.read_only, nothing.admin) == (
        False,
        False,
        True,
        False,
    )


def test_without_a_burst_a_second_comes_at_once() -> None:
    assert Rate.of(50) == Rate(per_second=50, burst=50)
    assert Rate.of(0.1).burst == 1
    assert Rate.of(1.5).burst == 2
    assert Rate.of(50, 3).burst == 3


def test_no_method_is_both() -> None:
    assert not set(METHODS) & set(ADMIN_METHODS)
