"""If-None-Match by the grammar of RFC 9110, and by whatever else may be sent."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.web.etags import has_match

OURS = '"0123abcd"'

# etagc of RFC 9110 section 8.8.3: visible characters but the quote, and obs-text.
TAGS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f')).map(
    lambda text: f'"{text}"'
)
ELEMENTS = st.tuples(st.sampled_from(["", "W/"]), TAGS).map("".join)
SEPARATORS = st.sampled_from([",", ", ", " ,", "\t,\t", ",,", ", ,"])


@pytest.mark.parametrize(
    "value",
    [
        OURS,
        f"W/{OURS}",
        f'"x", {OURS}',
        f'{OURS},"x"',
        f'"a,b",{OURS}',
        f",{OURS},",
        f'W/"x" , , W/{OURS} ',
        f'"",{OURS}',
        f'"é",{OURS}',
        "*",
        " * ",
    ],
)
def test_lists_that_hold_the_tag(value: str) -> None:
    assert has_match(value, OURS)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        '"x"',
        "0123abcd",
        '"0123ABCD"',
        "w/" + OURS,
        "W/ " + OURS,
        f'"x" {OURS}',
        f"*, {OURS}",
        f"{OURS}, *",
        f'{OURS}, "unfinished',
        f'"a b", {OURS}',
        "**",
        OURS[:-1],
        f"'{OURS}'",
    ],
)
def test_lists_that_do_not_hold_it_and_values_that_are_no_list(value: str) -> None:
    assert not has_match(value, OURS)


@given(st.lists(ELEMENTS, max_size=6), SEPARATORS, st.integers(0, 6), st.booleans())
def test_any_list_holds_what_was_put_into_it(
    others: list[str], separator: str, position: int, weak: bool
) -> None:
    absent = [other for other in others if other.removeprefix("W/") != OURS]
    assert not has_match(separator.join(absent), OURS)
    elements = [*absent[:position], f"W/{OURS}" if weak else OURS, *absent[position:]]
    assert has_match(separator.join(elements), OURS)


@given(st.text(max_size=60) | st.text('W/*", \tab', max_size=30))
def test_any_text_is_answered_and_a_match_really_holds_the_tag(value: str) -> None:
    if has_match(value, OURS):
        assert OURS in value or value.strip(" \t") == "*"


def test_a_long_hostile_value_takes_no_time() -> None:
    started = time.perf_counter()
    for value in (" " * 8000 + "x", ", " * 4000 + "x", '"",' * 2700 + '"', '"' * 8000, 'W/"a" ' * 1300):
        assert not has_match(value, OURS)
    assert time.perf_counter() - started < 0.5
