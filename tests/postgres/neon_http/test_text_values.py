"""Text forms both ways: what is written is what Postgres writes, what is read loses nothing."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import Kind, Parameter
from sidecar.postgres.builtin_types import BUILTIN_TYPES, PostgresType
from sidecar.postgres.codecs import columns_of
from sidecar.postgres.neon_http.text_values import columnar, to_text
from sidecar.postgres.parameters import bind

BY_NAME = {type_.name: type_ for type_ in BUILTIN_TYPES.values()}


def written(type_name: str, kind: Kind, value: Any) -> str | None:
    type_ = BY_NAME[type_name]
    (argument,) = bind([type_], [Parameter(kind, value)])
    return to_text(type_, argument)


def read(type_: PostgresType, *texts: str | None) -> list[Any]:
    (column,) = columnar(columns_of(["c"], [type_]), [type_], [[text] for text in texts])
    return list(column)


@pytest.mark.parametrize(
    ("type_name", "kind", "value", "text"),
    [
        ("bool", Kind.BOOL, True, "true"),
        ("int8", Kind.INT, -(2**63), "-9223372036854775808"),
        ("float8", Kind.FLOAT, 0.1, "0.1"),
        ("float8", Kind.FLOAT, -math.inf, "-Infinity"),
        ("numeric", Kind.NUMERIC, "1.50", "1.50"),
        ("bytea", Kind.BYTES, b"\x00\xff", "\\x00ff"),
        ("date", Kind.DATE, 0, "1970-01-01"),
        ("date", Kind.DATE, -719_163, "0001-12-31 BC"),
        ("date", Kind.DATE, 2_145_042_905, "5874897-12-31"),
        ("time", Kind.TIME, 86_400_000_000, "24:00:00.000000"),
        ("timestamp", Kind.TIMESTAMP, (-1, 999_999), "1969-12-31 23:59:59.999999+00"),
        ("timestamptz", Kind.TIMESTAMP, (-62_135_596_801, 0), "0001-12-31 23:59:59.000000+00 BC"),
        ("interval", Kind.INTERVAL, (-14, 3, -1), "-14 mons 3 days -00:00:00.000001"),
        ("interval", Kind.INTERVAL, (0, 0, -(2**63)), "0 mons 0 days -2562047788:00:54.775808"),
        ("uuid", Kind.UUID, bytes(16), "0" * 32),
        ("text", Kind.TEXT, "null", "null"),
    ],
)
def test_arguments_as_postgres_reads_them(type_name: str, kind: Kind, value: Any, text: str) -> None:
    assert written(type_name, kind, value) == text


def test_arrays_are_literals_and_null_is_none() -> None:
    sent = (Parameter(Kind.INT, 1), Parameter(None), Parameter(Kind.INT, -2))
    assert written("int4[]", Kind.ARRAY, sent) == '{"1",NULL,"-2"}'
    texts = (Parameter(Kind.TEXT, 'a"b\\'), Parameter(Kind.TEXT, "NULL"))
    assert written("text[]", Kind.ARRAY, texts) == '{"a\\"b\\\\","NULL"}'
    assert to_text(BY_NAME["int4"], None) is None


@given(some.integers(-2_440_588, 2_145_042_905))
def test_every_date_is_read_as_it_was_written(days: int) -> None:
    assert read(BY_NAME["date"], written("date", Kind.DATE, days)) == [days]


@given(some.integers(-210_866_803_200, 9_224_318_015_999), some.integers(0, 999_999))
def test_every_moment_is_read_as_it_was_written(seconds: int, micros: int) -> None:
    moment = (seconds, micros)
    assert read(BY_NAME["timestamptz"], written("timestamptz", Kind.TIMESTAMP, moment)) == [moment]


INT32, INT64 = some.integers(-(2**31), 2**31 - 1), some.integers(-(2**63), 2**63 - 1)


@given(some.tuples(some.integers(-(10**9), 10**9), INT32, INT64))
def test_every_interval_is_read_as_it_was_written(parts: tuple[int, int, int]) -> None:
    assert read(BY_NAME["interval"], written("interval", Kind.INTERVAL, parts)) == [parts]


@given(some.floats(allow_nan=False))
def test_every_double_is_read_as_it_was_written(value: float) -> None:
    assert read(BY_NAME["float8"], written("float8", Kind.FLOAT, value)) == [value]


@given(some.floats(width=32, allow_nan=False))
def test_a_float4_is_the_double_that_equals_it(value: float) -> None:
    shortest = next(text for digits in range(1, 10) if _narrow(float(text := f"{value:.{digits}g}")) == value)
    assert read(BY_NAME["float4"], shortest) == [value]


def _narrow(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf


def test_nulls_and_void() -> None:
    assert read(BY_NAME["int8"], None, "9007199254740993") == [None, 2**53 + 1]
    assert read(BY_NAME["void"], "", "") == [None, None]
    assert read(BY_NAME["box[]"], "{(3,4),(1,2);NULL}") == [["(3,4),(1,2)", None]]
    assert columnar(columns_of(["c"], [BY_NAME["int8"]]), [BY_NAME["int8"]], []) == ((),)


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("date", "31.12.2030"),
        ("timestamptz", "2030-12-31 00:00:00"),
        ("interval", "@ 1 year"),
        ("bytea", "s3cret"),
        ("float4", "s3cret"),
        ("int8", "s3cret"),
        ("uuid", "s3cret"),
        ("int4[]", "s3cret"),
    ],
)
def test_a_form_that_is_not_the_usual_one_is_refused(type_name: str, text: str) -> None:
    with pytest.raises(UsherError) as refused:
        read(BY_NAME[type_name], text)
    assert refused.value.reason is Reason.DATA_EXCEPTION
    assert refused.value.metadata == {"column": "c"}
    assert text not in str(refused.value)


def test_an_array_of_more_dimensions_is_refused() -> None:
    with pytest.raises(UsherError, match="more than one dimension"):
        read(BY_NAME["int4[]"], "{{1,2}}")
