"""Values on the round trip to a real server: what is sent comes back, through Postgres' own text too."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import (
    DATE_INFINITY,
    DATE_MINUS_INFINITY,
    NULL,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
    Kind,
    Parameter,
)

# One database call an example; a slow machine must not fail the test.
settings.register_profile(
    "database", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
PROFILE = settings.get_profile("database")

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT4 = st.floats(width=32)
NUMERICS = st.decimals(allow_nan=False, allow_infinity=False, places=20).map(
    lambda d: f"{d:f}"
) | st.sampled_from(["NaN", "0", "0.00", "-0.10", "1" * 500 + "." + "9" * 500, "1" + "0" * 1000])
DATES = st.integers(-2_440_588, 2_145_042_905) | st.sampled_from([DATE_INFINITY, DATE_MINUS_INFINITY])
TIMESTAMPS = st.tuples(
    st.integers(-210_866_803_200, 9_224_318_015_999), st.integers(0, 999_999)
) | st.sampled_from([(SECONDS_INFINITY, 0), (SECONDS_MINUS_INFINITY, 0)])
INTERVALS = st.tuples(
    st.integers(-(2**31) + 1, 2**31 - 2),
    st.integers(-(2**31) + 1, 2**31 - 2),
    st.integers(-(2**63) + 1, 2**63 - 2),
)
JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)

ROUND_TRIPS: list[tuple[str, Kind, st.SearchStrategy[Any]]] = [
    ("bool", Kind.BOOL, st.booleans()),
    ("int2", Kind.INT, st.integers(-(2**15), 2**15 - 1)),
    ("int4", Kind.INT, st.integers(-(2**31), 2**31 - 1)),
    ("int8", Kind.INT, INT64),
    ("oid", Kind.INT, st.integers(0, 2**32 - 1)),
    ("float4", Kind.FLOAT, FLOAT4.filter(lambda value: not math.isnan(value))),
    ("float8", Kind.FLOAT, st.floats(allow_nan=False)),
    ("text", Kind.TEXT, TEXTS),
    ("varchar", Kind.TEXT, TEXTS),
    ("bytea", Kind.BYTES, st.binary()),
    ("numeric", Kind.NUMERIC, NUMERICS),
    ("date", Kind.DATE, DATES),
    ("time", Kind.TIME, st.integers(0, 86_400_000_000)),
    ("timestamp", Kind.TIMESTAMP, TIMESTAMPS),
    ("timestamptz", Kind.TIMESTAMP, TIMESTAMPS),
    ("interval", Kind.INTERVAL, INTERVALS),
    ("uuid", Kind.UUID, st.binary(min_size=16, max_size=16)),
]
IDS = [type_name for type_name, _, _ in ROUND_TRIPS]


@pytest.mark.parametrize(("type_name", "kind", "values"), ROUND_TRIPS, ids=IDS)
def test_what_is_sent_comes_back(
    database, type_name: str, kind: Kind, values: st.SearchStrategy[Any]
) -> None:
    @PROFILE
    @given(values)
    def check(value: Any) -> None:
        assert database.value(f"SELECT $1::{type_name}", Parameter(kind, value)) == value

    check()


@pytest.mark.parametrize(("type_name", "kind", "values"), ROUND_TRIPS, ids=IDS)
def test_arrays_come_back(database, type_name: str, kind: Kind, values: st.SearchStrategy[Any]) -> None:
    @PROFILE
    @given(st.lists(st.none() | values, max_size=5))
    def check(array: list[Any]) -> None:
        parameter = Parameter(
            Kind.ARRAY, tuple(NULL if value is None else Parameter(kind, value) for value in array)
        )
        assert database.value(f"SELECT $1::{type_name}[]", parameter) == array

    check()


@pytest.mark.parametrize(("type_name", "kind", "values"), ROUND_TRIPS, ids=IDS)
def test_the_text_that_postgres_prints_is_read_back(
    database, type_name: str, kind: Kind, values: st.SearchStrategy[Any]
) -> None:
    @PROFILE
    @given(values)
    def check(value: Any) -> None:
        text = database.value(f"SELECT $1::{type_name}::text", Parameter(kind, value))
        assert database.value(f"SELECT $1::{type_name}", Parameter(Kind.TEXT, text)) == value

    check()


@pytest.mark.parametrize(("type_name", "kind", "values"), ROUND_TRIPS, ids=IDS)
def test_the_text_of_arrays_is_read_back(
    database, type_name: str, kind: Kind, values: st.SearchStrategy[Any]
) -> None:
    @PROFILE
    @given(st.lists(st.none() | values, max_size=4))
    def check(array: list[Any]) -> None:
        parameter = Parameter(
            Kind.ARRAY, tuple(NULL if value is None else Parameter(kind, value) for value in array)
        )
        text = database.value(f"SELECT $1::{type_name}[]::text", parameter)
        assert database.value(f"SELECT $1::{type_name}[]", Parameter(Kind.TEXT, text)) == array

    check()


@PROFILE
@given(document=JSON_TEXTS)
def test_json_keeps_its_text(database, document: Any) -> None:
    import json

    text = json.dumps(document, indent=1)
    if "\\u0000" in text:
        return  # jsonb refuses it, as Postgres does everywhere
    assert database.value("SELECT $1::json", Parameter(Kind.JSON, text)) == text
    printed = database.value("SELECT $1::jsonb", Parameter(Kind.JSON, text))
    assert printed == database.value("SELECT $1::jsonb::text", Parameter(Kind.TEXT, text))
    assert json.loads(printed) == document


@PROFILE
@given(elements=st.lists(st.none() | TEXTS))
def test_arrays_in_text_form_keep_every_character(database, elements: list[str | None]) -> None:
    # refcursor takes any text and travels in text form, so this exercises both array literals.
    parameter = Parameter(Kind.ARRAY, tuple(NULL if e is None else Parameter(Kind.TEXT, e) for e in elements))
    assert database.value("SELECT $1::refcursor[]", parameter) == elements
    assert database.value("SELECT $1::refcursor[]::text[]", parameter) == elements


def test_nan_and_the_sign_of_zero_survive(database) -> None:
    for type_name in ("float4", "float8"):
        assert math.isnan(database.value(f"SELECT $1::{type_name}", Parameter(Kind.FLOAT, math.nan)))
        zero = database.value(f"SELECT $1::{type_name}", Parameter(Kind.FLOAT, -0.0))
        assert struct.pack("d", zero) == struct.pack("d", -0.0)
        first, second = database.value(f"SELECT '{{NaN,-Infinity}}'::{type_name}[]")
        assert math.isnan(first)
        assert second == -math.inf


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'infinity'::date", DATE_INFINITY),
        ("'-infinity'::date", DATE_MINUS_INFINITY),
        ("'4714-11-24 BC'::date", -2_440_588),
        ("'5874897-12-31'::date", 2_145_042_905),
        ("'24:00:00'::time", 86_400_000_000),
        ("'infinity'::timestamptz", (SECONDS_INFINITY, 0)),
        ("'-infinity'::timestamp", (SECONDS_MINUS_INFINITY, 0)),
        ("'4714-11-24 00:00:00+00 BC'::timestamptz", (-210_866_803_200, 0)),
        ("'294276-12-31 23:59:59.999999'::timestamp", (9_224_318_015_999, 999_999)),
        ("'1969-12-31 23:59:59.999999'::timestamp", (-1, 999_999)),
        ("'1 year -1 day 00:00:00.000001'::interval", (12, -1, 1)),
        ("repeat('9', 500)::numeric", "9" * 500),
        ("'NaN'::numeric", "NaN"),
        ("'Infinity'::numeric", "Infinity"),
        ("1.500::numeric", "1.500"),
        ("'{NaN,1.10,NULL}'::numeric[]", ["NaN", "1.10", None]),
        ("ARRAY[NULL, 'infinity']::timestamptz[]", [None, (SECONDS_INFINITY, 0)]),
        ("ARRAY[NULL]::int4[]", [None]),
        ("'{}'::int4[]", []),
        ("'{}'::numeric[]", []),
        ("NULL::text[]", None),
        ("'[0:1]={7,8}'::int4[]", [7, 8]),
        ("'[5:6]={7,8}'::numeric[]", ["7", "8"]),
        ("'18446744073709551615'::xid8", "18446744073709551615"),
        ("pg_sleep(0)", None),
        ("'x'::char(3)", "x  "),
        ("''::\"char\"", ""),
        ("'NULL'::text", "NULL"),
        ("ARRAY['NULL', '']::text[]", ["NULL", ""]),
    ],
)
def test_what_the_server_makes(database, expression: str, value: Any) -> None:
    assert database.value(f"SELECT {expression}") == value


def test_infinite_intervals(database) -> None:
    if database.major_version < 17:
        pytest.skip("PostgreSQL 17 brought infinite intervals")
    infinity = (2**31 - 1, 2**31 - 1, 2**63 - 1)
    assert database.value("SELECT 'infinity'::interval") == infinity
    assert database.value("SELECT $1::interval::text", Parameter(Kind.INTERVAL, infinity)) == "infinity"
    assert database.value("SELECT $1::interval::text", Parameter(Kind.TEXT, "-infinity")) == "-infinity"


@pytest.mark.parametrize("expression", ["ARRAY[[1,2],[3,4]]", "'{{1.5}}'::numeric[]", "ARRAY[[now()]]"])
def test_arrays_of_more_dimensions_are_refused(database, expression: str) -> None:
    with pytest.raises(UsherError) as caught:
        database.run(f"SELECT 1 AS one, {expression} AS matrix")
    assert caught.value.reason is Reason.DATA_EXCEPTION
    assert caught.value.metadata == {"column": "matrix"}
    assert "to_json" in caught.value.message
    assert database.value(f"SELECT to_json({expression}) IS NOT NULL") is True


def test_columns_are_sequences_of_equal_length(database) -> None:
    prepared, data = database.run("SELECT g, NULL::text, date '1970-01-02' FROM generate_series(1, 3) AS g")
    assert [list(values) for values in data] == [[1, 2, 3], [None] * 3, [1] * 3]
    assert len(prepared.columns) == 3


def test_no_rows_and_no_columns(database) -> None:
    assert [list(values) for values in database.run("SELECT 1, 'x' WHERE false")[1]] == [[], []]
    assert database.run("SELECT FROM generate_series(1, 2)")[1] == ()
    assert database.run("SET LOCAL work_mem = '8MB'")[1] == ()
