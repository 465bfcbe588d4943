"""The corpus itself: well-formed, wide enough, and honest in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from tests.attacks.corpus import CLAIMS, attacks

SECURITY = Path(__file__).parents[2] / "docs/security.md"
FEWEST = 60
FEWEST_OF_CATEGORY = 5


def test_names_are_unique_and_cases_complete() -> None:
    cases = attacks()
    assert len({case.name for case in cases}) == len(cases) >= FEWEST
    for case in cases:
        assert re.fullmatch(r"[a-z0-9_]+", case.name)
        assert case.leaks, case.name
        assert case.steps, case.name
        assert {step.who for step in case.steps} <= set(CLAIMS), case.name
        marks = (case.unstoppable, case.deployment, case.by_token, case.regression)
        assert sum(map(bool, marks)) <= 1, case.name
        assert len(set(case.success) - {"step"}) == bool(case.success), case.name
        assert 1 <= case.success.get("step", 1) <= len(case.steps), case.name
        assert any("<" + word + ">" in step.sql for step in case.steps for word in ("forge", "read")) is False


def test_every_category_has_its_share() -> None:
    categories = [case.category for case in attacks()]
    assert {
        name: categories.count(name) for name in categories if categories.count(name) < FEWEST_OF_CATEGORY
    } == {}


def test_what_cannot_be_stopped_is_documented_and_nothing_else() -> None:
    text = SECURITY.read_text("utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", text, re.MULTILINE))
    marked = {
        case.name: case.unstoppable or case.deployment or case.by_token
        for case in attacks()
        if case.succeeds_by_design(by_token=True)
    }
    assert documented == marked


def test_the_page_tells_how_many_cases_there_are() -> None:
    cases = attacks()
    assert f"{len(cases)} cases" in SECURITY.read_text("utf-8")
