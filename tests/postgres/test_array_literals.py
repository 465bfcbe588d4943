"""Array literals: what Postgres prints comes apart, what we print comes back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.postgres.array_literals import NestedArrayError, format_array, parse_array


@given(st.lists(st.none() | st.text()), st.sampled_from([",", ";"]))
def test_every_list_of_texts_survives(elements: list[str | None], delimiter: str) -> None:
    assert parse_array(format_array(elements, delimiter), delimiter) == elements


@pytest.mark.parametrize(
    ("literal", "elements"),
    [
        ("{}", []),
        (" { } ", []),
        ("{1,NULL,2}", ["1", None, "2"]),
        ('{null,"NULL",""}', [None, "NULL", ""]),
        ('{"a,b","c\\"d","e\\\\f", "g" }', ["a,b", 'c"d', "e\\f", "g"]),
        ("{ two words , x }", ["two words", "x"]),
        ("[0:1]={1,2}", ["1", "2"]),
        ("[-3:-3]={x}", ["x"]),
    ],
)
def test_forms_of_the_documentation(literal: str, elements: list[str | None]) -> None:
    assert parse_array(literal) == elements


@pytest.mark.parametrize("literal", ["{{1},{2}}", "{{}}", "[1:1][1:2]={{1,2}}", " {  {1} }"])
def test_nested_arrays_are_told_apart(literal: str) -> None:
    with pytest.raises(NestedArrayError):
        parse_array(literal)


@pytest.mark.parametrize(
    "literal",
    [
        "",
        "secret",
        "{",
        "}",
        "{secret",
        "{secret,",
        '{"secret}',
        "{secret}x",
        "{,}",
        "{a,,b}",
        "{a,}",
        "{a}{b}",
    ],
)
def test_anything_else_is_refused_without_showing_it(literal: str) -> None:
    with pytest.raises(ValueError, match=r"array literal|missing|follows") as caught:
        parse_array(literal)
    assert "secret" not in str(caught.value)


def test_hostile_input_takes_linear_time() -> None:
    began = time.perf_counter()
    for hostile in (
        "{" + " " * 1_000_000,
        '{"' + "a" * 1_000_000,
        '{"' + "\\" * 1_000_000,
        "{" + "a" * 1_000_000,
    ):
        with pytest.raises(ValueError, match=r"array literal|missing|follows"):
            parse_array(hostile)
    assert time.perf_counter() - began < 2
