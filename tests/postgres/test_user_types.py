"""What a row of DESCRIBE_TYPES means; that the query gives such rows is seen in test_codecs.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.values import Kind
from sidecar.postgres.builtin_types import BUILTIN_TYPES, PostgresType
from sidecar.postgres.user_types import Described, described_type

ENUM = Described(oid=20_001, name="app.mood", category="e", delimiter=",", base_oid=0, element_oid=None)


def described(row: Described, *parts: PostgresType) -> PostgresType:
    return described_type(row, {**BUILTIN_TYPES, **{part.oid: part for part in parts}})


def test_an_enum_is_text_and_others_are_in_their_text_form() -> None:
    mood = described(ENUM)
    assert (mood.name, mood.kind, mood.text_form) == ("app.mood", Kind.TEXT, False)
    other = described(replace(ENUM, category="c", delimiter=";"))
    assert (other.kind, other.text_form, other.delimiter) == (Kind.OTHER, True, ";")


def test_a_domain_is_its_base_type() -> None:
    domain = replace(ENUM, category="d", base_oid=23)
    assert described(domain) is BUILTIN_TYPES[23]
    with pytest.raises(KeyError):
        described(replace(domain, base_oid=20_009))


def test_an_array_is_one_of_its_elements() -> None:
    mood = described(ENUM)
    array = described(replace(ENUM, oid=20_002, category="b", element_oid=20_001), mood)
    assert (array.oid, array.name, array.kind, array.element) == (20_002, "app.mood[]", Kind.ARRAY, mood)


def test_a_builtin_type_is_what_it_is_whatever_the_row_says() -> None:
    assert described(replace(ENUM, oid=23)) is BUILTIN_TYPES[23]
