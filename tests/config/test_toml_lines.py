"""Where keys stand: compared with what tomllib itself reads, for every form that TOML has."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.toml_lines import Keys, key_lines

TEXT = '''\
# a comment with [brackets] = and "quotes"
top = 1
"quoted key" = 'a # b = c'

[a.b]  # a header
x = [
  1, # one
  [2, 3],
  { y = "}", z.w = 5 },
]
text = """
[not.a.table]
also = "not a key" \\"""
""" # after
literal = \'\'\'
k = 1''\'\'\'
dotted."key".end = 1979-05-27 07:32:00

[[many]]
n = 1
[many.inside]
m = 1
[[many]]
n = 2
[[many.deep]]
d = 1
[a]
late = true
'''


def test_every_form_of_key() -> None:
    lines = key_lines(TEXT)
    expected: dict[Keys, int] = {
        ("top",): 2,
        ("quoted key",): 3,
        ("a", "b"): 5,
        ("a", "b", "x"): 6,
        ("a", "b", "x", 0): 7,
        ("a", "b", "x", 1): 8,
        ("a", "b", "x", 1, 1): 8,
        ("a", "b", "x", 2): 9,
        ("a", "b", "x", 2, "y"): 9,
        ("a", "b", "x", 2, "z", "w"): 9,
        ("a", "b", "text"): 11,
        ("a", "b", "literal"): 15,
        ("a", "b", "dotted", "key", "end"): 17,
        ("many", 0): 19,
        ("many", 0, "n"): 20,
        ("many", 0, "inside", "m"): 22,
        ("many", 1, "n"): 24,
        ("many", 1, "deep", 0, "d"): 26,
        ("a", "late"): 28,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_every_place_that_tomllib_reads_has_a_line() -> None:
    assert set(places(tomllib.loads(TEXT))) == set(key_lines(TEXT))


def places(value: Any, path: Keys = ()) -> list[Keys]:
    """The path of everything in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


keys = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=["Cc"]), max_size=5)
leaves = st.booleans() | st.integers(-9, 9) | st.text("a#\"=[]{},\\\n'", max_size=8)
documents = st.dictionaries(
    keys,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(documents, st.data())
def test_any_document(document: dict[str, Any], data: st.DataObject) -> None:
    """Written by hand, with the lines noted while writing."""
    written: list[str] = []
    expected: dict[Keys, int] = {}

    def line() -> int:
        return 1 + "".join(written).count("\n")

    def gap() -> None:
        written.append(data.draw(st.sampled_from(["", " ", "\n", " # a ] } , = 'comment\n", "\r\n"])))

    def write(value: Any, path: Keys) -> None:
        if isinstance(value, bool | int):
            written.append(json.dumps(value))
        elif isinstance(value, str):
            # JSON's escapes are TOML's, surrogate pairs aside, of which ensure_ascii=False makes none.
            written.append(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, list):
            written.append("[")
            for index, item in enumerate(value):
                gap()
                expected[(*path, index)] = line()
                write(item, (*path, index))
                gap()
                written.append(",")
            gap()
            written.append("]")
        else:
            written.append("{ ")
            for number, (key, item) in enumerate(value.items()):
                written.append(", " if number else "")
                expected[(*path, key)] = line()
                written.append(json.dumps(key, ensure_ascii=False) + " = ")
                write(item, (*path, key))
            written.append(" }")

    for key, value in document.items():
        gap()
        written.append("\n")
        expected[key,] = line()
        written.append(json.dumps(key, ensure_ascii=False) + " = ")
        write(value, (key,))
        written.append("\n")
    text = "".join(written)
    assert tomllib.loads(text) == document
    assert key_lines(text) == expected


@given(st.text("a.=[]{}\"'#,1\\\n ", max_size=40))
def test_whatever_tomllib_accepts_is_scanned(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(places(document)) <= set(key_lines(text))
