"""SQL without its quoted parts: what hides in a string ends no statement and is no parameter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.sql_text import bare, is_one_statement, parameter_count

QUOTED = [
    "'a;$1'",
    "'it''s; $2'",
    "E'it\\'s; $2'",
    "e'\\\\'",
    "'back\\'",
    '"na;me $3"',
    '"dou""ble;"',
    "$$ a; $1 ' $$",
    "$body$ ; $1 $$ ; $body$",
    "$é$ ; $é$",
    "-- to the end; $1\n",
    "-- to the end; $1\r",
    "/* a; /* nested; $1 */ still; */",
    "U&'d!0061t;' ",
]


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_part_is_nothing(quoted: str) -> None:
    plain = bare(f"select {quoted} , $1")
    assert is_one_statement(plain)
    assert parameter_count(plain) == 1
    assert not is_one_statement(bare(f"select {quoted}; select 1"))


@given(st.lists(st.sampled_from(QUOTED), max_size=5), st.booleans())
def test_parts_side_by_side(parts: list[str], two: bool) -> None:
    sql = "select 1 " + " ".join(parts) + ("; select 2" if two else " ; ;\n")
    assert is_one_statement(bare(sql)) is not two
    assert parameter_count(bare(sql)) == 0


@pytest.mark.parametrize(
    "open_ended", ["'a", "E'a\\'", '"a', "$$ a", "$a$ b $$", "/* a", "/* /* */", "'a''", "E'\\"]
)
def test_a_part_without_end(open_ended: str) -> None:
    with pytest.raises(ValueError, match="does not end"):
        bare(f"select {open_ended}")


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("select 1", 0),
        ("select $1, $3", 3),
        ("select a$1, $2", 2),
        ("select é$9", 0),
        ("select $10::int+$2", 10),
        ("select foo.$1", 1),
        ("select $1$2", 2),
    ],
)
def test_the_highest_parameter(sql: str, count: int) -> None:
    assert parameter_count(bare(sql)) == count


@given(st.text("se;'\"$a1-/*\\\nE", max_size=40))
def test_no_text_is_too_much(sql: str) -> None:
    try:
        plain = bare(sql)
    except ValueError:
        return
    assert "'" not in plain
    assert '"' not in plain
    assert "--" not in plain
    is_one_statement(plain)
    parameter_count(plain)
