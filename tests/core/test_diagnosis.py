"""Findings: how clocks are judged, and how a message becomes one."""

from __future__ import annotations

import pytest

from sidecar.core import diagnosis
from sidecar.core.diagnosis import Verdict


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        (0.0, "ok"),
        (5.0, "ok"),
        (5.1, "warning"),
        (-5.1, "warning"),
        (30.0, "warning"),
        (30.1, "failed"),
        (-31, "failed"),
    ],
)
def test_clocks_are_judged_by_the_leeway_of_verifiers(ahead: float, verdict: str) -> None:
    found = diagnosis.clock("c", ahead, "the database's")
    assert found.verdict is Verdict(verdict)
    assert f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's" in found.seen
    assert bool(found.remedy) is (verdict != "ok")


def test_a_message_is_split_into_what_is_wrong_and_what_to_do() -> None:
    found = diagnosis.trouble("c", "it is gone; look; then mend it")
    assert (found.verdict, found.seen, found.remedy) == (Verdict.FAILED, "it is gone", "look; then mend it")
    assert diagnosis.trouble("c", "it is gone").remedy == ""


def test_what_was_not_looked_at_is_not_ok() -> None:
    assert diagnosis.not_looked_at("c", "nobody is there").verdict is Verdict.WARNING
