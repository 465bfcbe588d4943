"""Patterns: what fits, what is refused, and that no text makes one slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy.patterns import MAX_LENGTH, any_matches, parse


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("alice", ["alice"], ["", "Alice", "alice ", "xalice", "alicex", "ali"]),
        ("user-*", ["user-", "user-7", "user-a\nb"], ["user", "xuser-7", "User-7"]),
        ("*@example.org", ["a@example.org", "@example.org"], ["a@example.org.evil", "a@example_org"]),
        ("a*b*c", ["abc", "axxbyyc", "abbcbc"], ["ac", "acb", "abcd", "ab"]),
        ("a*a", ["aa", "aba"], ["a", ""]),
        ("*", ["", "x", "\n"], []),
        (r"\*", ["*"], ["x", "", r"\*"]),
        (r"a\\*", ["a\\", "a\\b"], ["a", "ab"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]", ["[ab]"], ["a"]),
        ("é", ["\u00e9"], ["e\u0301", "É"]),
    ],
)
def test_what_fits(pattern: str, fitting: list[str], others: list[str]) -> None:
    parsed = parse(pattern)
    assert [text for text in fitting if not parsed.matches(text)] == []
    assert [text for text in others if parsed.matches(text)] == []


PATTERNS = st.text("ab*", min_size=1, max_size=8).filter(lambda text: text.count("*") <= 4)


@given(PATTERNS, st.text("ab", max_size=10))
def test_it_fits_as_an_anchored_expression_does(pattern: str, text: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert parse(pattern).matches(text) == bool(re.fullmatch(expression, text, re.DOTALL))


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_escaped_text_fits_itself_alone(text: str, other: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("*", "\\*")
    if escaped:
        assert parse(escaped).matches(text)
        assert parse(escaped).matches(other) == (text == other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("x" * (MAX_LENGTH + 1), "at most 300"),
        ("*****", "at most 4 stars"),
        ("a\\", "backslash"),
        ("a\\b", "backslash"),
    ],
)
def test_what_is_no_pattern(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(text)


def test_the_worst_text_is_no_trouble() -> None:
    worst = parse("*" + "a" * 60 + "b*" + "a" * 60 + "b*" + "a" * 60 + "c*")
    started = time.perf_counter()
    assert not worst.matches("a" * 100_000)
    assert time.perf_counter() - started < 0.5


def test_one_of_several() -> None:
    assert any_matches([parse("a"), parse("b*")], "bc")
    assert not any_matches([parse("a"), parse("b*")], "ab")
    assert not any_matches([], "")
