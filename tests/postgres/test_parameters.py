"""Binding: what fits which type, and that a refusal never shows the value."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import (
    DATE_INFINITY,
    NULL,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
    Kind,
    Parameter,
)
from sidecar.postgres.builtin_types import BUILTIN_TYPES, PostgresType
from sidecar.postgres.parameters import bind

TYPES = {type_.name: type_ for type_ in BUILTIN_TYPES.values()}

# One value of every kind of parameter, all recognisable in a message.
MARKED = {
    Kind.BOOL: True,
    Kind.INT: 7_777_777_777_777_777_777,
    Kind.FLOAT: 7.777e77,
    Kind.TEXT: "marked-7777",
    Kind.BYTES: b"marked-7777",
    Kind.NUMERIC: "7777.7777",
    Kind.DATE: 2_147_477_777,
    Kind.TIME: 777_777_777_777_777,
    Kind.TIMESTAMP: (7_777_777_777_777_777, 777_777),
    Kind.INTERVAL: (77_777_777_777, 7777, 7777),
    Kind.UUID: b"marked-7777",
    Kind.JSON: '{"marked": 7777}',
    Kind.ARRAY: (Parameter(Kind.ARRAY, (Parameter(Kind.TEXT, "marked-7777"),)),),
}


def refusal(type_name: str, parameter: Parameter) -> UsherError:
    with pytest.raises(UsherError) as caught:
        bind([TYPES[type_name]], [parameter])
    assert caught.value.reason is Reason.PARAMETER_TYPE
    return caught.value


def test_wrong_count_says_both_numbers() -> None:
    with pytest.raises(UsherError) as caught:
        bind([TYPES["int4"], TYPES["text"]], [Parameter(Kind.INT, 1)])
    assert caught.value.reason is Reason.PARAMETER_COUNT
    assert caught.value.metadata == {"expected": "2", "actual": "1"}
    assert "has 2 parameters and 1 were sent" in caught.value.message


@pytest.mark.parametrize("type_", BUILTIN_TYPES.values(), ids=lambda type_: type_.name)
def test_null_fits_every_type(type_: PostgresType) -> None:
    assert bind([type_], [NULL]) == [None]


@pytest.mark.parametrize(
    ("type_name", "parameter", "argument"),
    [
        ("bool", Parameter(Kind.BOOL, True), True),
        ("int2", Parameter(Kind.INT, -(2**15)), -(2**15)),
        ("int8", Parameter(Kind.INT, 2**63 - 1), 2**63 - 1),
        ("int4", Parameter(Kind.NUMERIC, "5"), 5),
        ("oid", Parameter(Kind.INT, 2**32 - 1), 2**32 - 1),
        ("float8", Parameter(Kind.INT, 2**53), 2.0**53),
        ("float8", Parameter(Kind.NUMERIC, "0.1"), 0.1),
        ("float4", Parameter(Kind.INT, 2**24), 2.0**24),
        ("float4", Parameter(Kind.FLOAT, 0.1), 0.10000000149011612),
        ("float4", Parameter(Kind.FLOAT, math.inf), math.inf),
        ("numeric", Parameter(Kind.INT, -7), "-7"),
        ("numeric", Parameter(Kind.NUMERIC, "1.50"), "1.50"),
        ("text", Parameter(Kind.JSON, '{"a":1}'), '{"a":1}'),
        ("jsonb", Parameter(Kind.TEXT, "[1]"), "[1]"),
        ("date", Parameter(Kind.DATE, 0), -10_957),
        ("date", Parameter(Kind.DATE, DATE_INFINITY), DATE_INFINITY),
        ("timestamp", Parameter(Kind.TIMESTAMP, (-1, 999_999)), -946_684_800_000_001),
        ("timestamptz", Parameter(Kind.TIMESTAMP, (SECONDS_INFINITY, 0)), 2**63 - 1),
        ("timestamptz", Parameter(Kind.TIMESTAMP, (SECONDS_MINUS_INFINITY, 0)), -(2**63)),
        ("inet", Parameter(Kind.TEXT, "10.0.0.1"), "10.0.0.1"),
        ('"char"', Parameter(Kind.TEXT, "x"), "x"),
        ("int4[]", Parameter(Kind.ARRAY, (Parameter(Kind.INT, 1), NULL)), [1, None]),
        ("int4[]", Parameter(Kind.TEXT, "{1,NULL}"), [1, None]),
        ("date[]", Parameter(Kind.TEXT, "{1970-01-01}"), [-10_957]),
        ("numeric[]", Parameter(Kind.ARRAY, (Parameter(Kind.INT, 1), NULL)), '{"1",NULL}'),
        ("inet[]", Parameter(Kind.TEXT, "{{::1}}"), "{{::1}}"),
        ("box[]", Parameter(Kind.ARRAY, (Parameter(Kind.TEXT, "(1,2)"), NULL)), '{"(1,2)";NULL}'),
    ],
)
def test_what_fits(type_name: str, parameter: Parameter, argument: Any) -> None:
    bound = bind([TYPES[type_name]], [parameter])
    assert bound == [argument]
    assert type(bound[0]) is type(argument)


@pytest.mark.parametrize(
    ("type_name", "parameter"),
    [
        ("int2", Parameter(Kind.INT, 2**15)),
        ("int4", Parameter(Kind.INT, -(2**31) - 1)),
        ("int8", Parameter(Kind.TEXT, "9223372036854775808")),
        ("int4", Parameter(Kind.FLOAT, 1.0)),
        ("int4", Parameter(Kind.NUMERIC, "1.5")),
        ("oid", Parameter(Kind.INT, -1)),
        ("bool", Parameter(Kind.INT, 1)),
        ("float8", Parameter(Kind.INT, 2**53 + 1)),
        ("float4", Parameter(Kind.INT, 2**24 + 1)),
        ("float4", Parameter(Kind.FLOAT, 1e39)),
        ("float4", Parameter(Kind.FLOAT, 1e-60)),
        ("float8", Parameter(Kind.TEXT, "1e400")),
        ("numeric", Parameter(Kind.FLOAT, 0.1)),
        ("numeric", Parameter(Kind.TEXT, "1,5")),
        ("text", Parameter(Kind.INT, 1)),
        ("text", Parameter(Kind.TEXT, "a\0b")),
        ("jsonb", Parameter(Kind.JSON, '"\0"')),
        ("inet", Parameter(Kind.TEXT, "\0")),
        ("inet", Parameter(Kind.INT, 1)),
        ('"char"', Parameter(Kind.TEXT, "ab")),
        ('"char"', Parameter(Kind.TEXT, "é")),
        ("bytea", Parameter(Kind.UUID, bytes(16))),
        ("uuid", Parameter(Kind.BYTES, bytes(16))),
        ("uuid", Parameter(Kind.UUID, bytes(15))),
        ("date", Parameter(Kind.DATE, -2_440_589)),
        ("date", Parameter(Kind.DATE, 2_145_042_906)),
        ("date", Parameter(Kind.TIMESTAMP, (0, 0))),
        ("time", Parameter(Kind.TIME, 86_400_000_001)),
        ("time", Parameter(Kind.TIME, -1)),
        ("timestamp", Parameter(Kind.TIMESTAMP, (0, 1_000_000))),
        ("timestamp", Parameter(Kind.TIMESTAMP, (2**62, 0))),
        ("timestamp", Parameter(Kind.TEXT, "2024-01-01T00:00:00Z")),
        ("timestamptz", Parameter(Kind.TEXT, "2024-01-01T00:00:00")),
        ("interval", Parameter(Kind.INTERVAL, (2**31, 0, 0))),
        ("int4", Parameter(Kind.ARRAY, (Parameter(Kind.INT, 1),))),
        ("int4[]", Parameter(Kind.INT, 1)),
        ("int4[]", Parameter(Kind.TEXT, "{{1}}")),
        ("int4[]", Parameter(Kind.TEXT, "{1")),
        ("numeric[]", Parameter(Kind.INT, 1)),
    ],
)
def test_what_does_not_fit(type_name: str, parameter: Parameter) -> None:
    error = refusal(type_name, parameter)
    assert error.metadata == {"field": "parameters[0]", "type": type_name}
    assert [violation.field for violation in error.violations] == ["parameters[0]"]
    assert type_name in error.message


def test_text_that_is_not_read_here_has_a_way_out() -> None:
    assert "write $1::text::timestamptz" in refusal("timestamptz", Parameter(Kind.TEXT, "now")).message


def test_an_element_is_named_by_its_path() -> None:
    error = refusal("int2[]", Parameter(Kind.ARRAY, (NULL, Parameter(Kind.INT, 70_000))))
    assert error.metadata["field"] == "parameters[0].array_value.elements[1]"


def test_an_array_in_an_array_is_refused() -> None:
    error = refusal("int4[]", Parameter(Kind.ARRAY, (Parameter(Kind.ARRAY, ()),)))
    assert "array_value does not fit" in error.message


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.parametrize("type_", BUILTIN_TYPES.values(), ids=lambda type_: type_.name)
def test_no_refusal_shows_the_value(type_: PostgresType, kind: Kind) -> None:
    try:
        bind([type_], [Parameter(kind, MARKED[kind])])
    except UsherError as error:
        shown = f"{error.message} {error.metadata} {error.violations}"
        assert "7777" not in shown
        assert "marked" not in shown
        assert error.__context__ is None  # noqa: PT017


@given(st.text(), st.sampled_from(list(BUILTIN_TYPES.values())))
def test_any_text_is_bound_or_refused(text: str, type_: PostgresType) -> None:
    try:
        bind([type_], [Parameter(Kind.TEXT, text)])
    except UsherError as error:
        assert error.reason is Reason.PARAMETER_TYPE  # noqa: PT017
