"""Values both ways: what is sent arrives whole, and what Postgres makes comes back whole."""

from __future__ import annotations

import math
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.queries import Backend
from sidecar.core.values import (
    DATE_INFINITY,
    DATE_MINUS_INFINITY,
    NULL,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
    Kind,
    Parameter,
)
from tests.postgres.scoped import ALICE, CANARY, query, refusal, rows

SENT: list[tuple[str, Kind, Any, str]] = [
    ("bool", Kind.BOOL, True, "true"),
    ("bool", Kind.BOOL, False, "false"),
    ("int2", Kind.INT, -(2**15), "-32768"),
    ("int4", Kind.INT, 2**31 - 1, "2147483647"),
    ("int8", Kind.INT, 2**63 - 1, "9223372036854775807"),
    ("int8", Kind.INT, -(2**63), "-9223372036854775808"),
    ("oid", Kind.INT, 2**32 - 1, "4294967295"),
    ("float4", Kind.FLOAT, 0.10000000149011612, "0.1"),
    ("float8", Kind.FLOAT, 2.2250738585072014e-308, "2.2250738585072014e-308"),
    ("float8", Kind.FLOAT, -0.0, "-0"),
    ("float8", Kind.FLOAT, math.inf, "Infinity"),
    ("float8", Kind.FLOAT, -math.inf, "-Infinity"),
    (
        "numeric",
        Kind.NUMERIC,
        "-0.00000000000000000000000000000000010",
        "-0.00000000000000000000000000000000010",
    ),
    ("numeric", Kind.NUMERIC, "9" * 300 + ".50", "9" * 300 + ".50"),
    ("numeric", Kind.NUMERIC, "NaN", "NaN"),
    ("numeric", Kind.NUMERIC, "-Infinity", "-Infinity"),
    ("text", Kind.TEXT, "", ""),
    ("text", Kind.TEXT, "NULL", "NULL"),
    (
        "text",
        Kind.TEXT,
        "tab\tquote\"'back\\slash line\nü😀\u2028",
        "tab\tquote\"'back\\slash line\nü😀\u2028",
    ),
    ("text", Kind.TEXT, "{1,2}", "{1,2}"),
    ("text", Kind.TEXT, "\\x00ff", "\\x00ff"),
    ("char(3)", Kind.TEXT, "x  ", "x"),
    ("bytea", Kind.BYTES, b"", "\\x"),
    ("bytea", Kind.BYTES, bytes(range(256)), "\\x" + bytes(range(256)).hex()),
    ("date", Kind.DATE, -2_440_588, "4714-11-24 BC"),
    ("date", Kind.DATE, 2_145_042_905, "5874897-12-31"),
    ("date", Kind.DATE, DATE_INFINITY, "infinity"),
    ("date", Kind.DATE, DATE_MINUS_INFINITY, "-infinity"),
    ("time", Kind.TIME, 86_400_000_000, "24:00:00"),
    ("time", Kind.TIME, 1, "00:00:00.000001"),
    ("timestamp", Kind.TIMESTAMP, (-1, 999_999), "1969-12-31 23:59:59.999999"),
    ("timestamp", Kind.TIMESTAMP, (9_224_318_015_999, 999_999), "294276-12-31 23:59:59.999999"),
    ("timestamptz", Kind.TIMESTAMP, (-210_866_803_200, 0), "4714-11-24 00:00:00+00 BC"),
    ("timestamptz", Kind.TIMESTAMP, (SECONDS_INFINITY, 0), "infinity"),
    ("timestamptz", Kind.TIMESTAMP, (SECONDS_MINUS_INFINITY, 0), "-infinity"),
    ("interval", Kind.INTERVAL, (12, -1, 1), "1 year -1 days +00:00:00.000001"),
    ("interval", Kind.INTERVAL, (-14, 3, -14_706_789_000), "-1 years -2 mons +3 days -04:05:06.789"),
    ("uuid", Kind.UUID, bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    ("json", Kind.JSON, '{ "b" : 1.0, "a":[null], "b": 12345678901234567890.10 }', ""),
    ("jsonb", Kind.JSON, '{"a": [null], "b": 12345678901234567890.10}', ""),
    ("jsonb", Kind.JSON, "null", "null"),
    ("jsonb", Kind.JSON, '"a \\"text\\""', ""),
    ("inet", Kind.TEXT, "10.0.0.1/8", ""),
    ("timetz", Kind.TEXT, "12:00:00.5-15:59:59", ""),
    ("int4range", Kind.TEXT, "[1,10)", ""),
    ("nummultirange", Kind.TEXT, "{[1.10,2.20],[3,)}", ""),
    ("tsvector", Kind.TEXT, "'a':1A 'quoted '' word':2", ""),
    ("xid8", Kind.TEXT, "18446744073709551615", ""),
    ("bit(5)", Kind.TEXT, "10110", ""),
    ("box", Kind.TEXT, "(3,4),(1,2)", ""),
]
"""Type, kind and value of a parameter; Postgres' text of it, "" where the value is that text."""


def _id(case: tuple[str, Kind, Any, str]) -> str:
    return f"{case[0]} {str(case[3] or case[2])[:20]}"


@pytest.mark.parametrize(("type_name", "kind", "value", "text"), SENT, ids=map(_id, SENT))
async def test_what_is_sent_arrives_and_comes_back(
    backend: Backend, type_name: str, kind: Kind, value: Any, text: str
) -> None:
    sent = Parameter(kind, value)
    (found,) = rows(await query(backend, ALICE, f"select $1::{type_name}, $1::{type_name}::text", sent))
    assert found == (value, text or value)
    assert repr(found[0]) == repr(value)  # tells the zeros and the types apart
    # Its text is read as well.
    again = Parameter(Kind.TEXT, found[1])
    assert rows(await query(backend, ALICE, f"select $1::{type_name}", again)) == [(value,)]


@pytest.mark.parametrize(("type_name", "kind", "value", "text"), SENT, ids=map(_id, SENT))
async def test_arrays_of_it_come_back(
    backend: Backend, type_name: str, kind: Kind, value: Any, text: str
) -> None:
    sent = Parameter(Kind.ARRAY, (Parameter(kind, value), NULL, Parameter(kind, value)))
    sql = f"select $1::{type_name}[], ($1::{type_name}[])[1]::text, '{{}}'::{type_name}[]"
    assert rows(await query(backend, ALICE, sql, sent)) == [([value, None, value], text or value, [])]


async def test_no_number_is_no_number(backend: Backend) -> None:
    sent = Parameter(Kind.FLOAT, math.nan)
    ((one, two, (three, _)),) = rows(
        await query(backend, ALICE, "select $1::float8, 'nan'::float4, '{NaN,1}'::float8[]", sent)
    )
    assert all(map(math.isnan, (one, two, three)))


NULLS = ("bool", "int8", "float8", "text", "bytea", "numeric", "timestamptz", "interval", "uuid", "jsonb")


async def test_null_is_null_in_every_type_and_beside_values(backend: Backend) -> None:
    for type_name in NULLS:
        sql = f"select $1::{type_name}, null::{type_name}[], $1::{type_name} is null"
        assert rows(await query(backend, ALICE, sql, None)) == [(None, None, True)]
    mixed = (
        "select case when n % 2 = 0 then n end, case when n % 3 = 0 then 'x' end from generate_series(1, 6) n"
    )
    assert rows(await query(backend, ALICE, mixed)) == [
        (None, None), (2, None), (None, "x"), (4, None), (None, None), (6, "x"),
    ]  # fmt: skip


MADE = [
    ("'{NaN,1.10,NULL}'::numeric[]", ["NaN", "1.10", None], Kind.ARRAY),
    ("ARRAY['NULL', '', 'a,b', '\"']::text[]", ["NULL", "", "a,b", '"'], Kind.ARRAY),
    ("'[5:6]={7,8}'::int4[]", [7, 8], Kind.ARRAY),
    ("1.500::numeric", "1.500", Kind.NUMERIC),
    ("9007199254740993::int8", 2**53 + 1, Kind.INT),
    ("'9007199254740993'::jsonb", "9007199254740993", Kind.JSON),
    ("1e300::float8", 1e300, Kind.FLOAT),
    ("pg_sleep(0)", None, Kind.OTHER),
    ("'12.34'::money", "$12.34", Kind.OTHER),
    ("ROW(1, 'a b', NULL)", '(1,"a b",)', Kind.OTHER),
    ("'r'::\"char\"", "r", Kind.TEXT),
    ("'pg_class'::name", "pg_class", Kind.TEXT),
    ("'pg_class'::regclass", "pg_class", Kind.OTHER),
    ("'happy'::mood", "happy", Kind.TEXT),
    ("'{happy,NULL}'::mood[]", ["happy", None], Kind.ARRAY),
    ("5::small", 5, Kind.INT),
    ("'(1,\"x y\")'::pair", '(1,"x y")', Kind.OTHER),
]
TYPES = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE TYPE pair AS (a int, b text);
"""


async def test_what_postgres_makes_comes_back(backend: Backend, admin: asyncpg.Connection) -> None:
    await admin.execute(TYPES)
    try:
        for expression, value, kind in MADE:
            result = await query(backend, ALICE, f"select {expression} as made")
            assert (rows(result), result.columns[0].kind) == ([(value,)], kind), expression
    finally:
        await admin.execute("DROP TYPE mood, pair; DROP DOMAIN small")


async def test_columns_are_described(backend: Backend) -> None:
    sql = "select 1::int8 as n, 'x'::varchar(5) as v, '{}'::uuid[] as ids, null as nothing, 2 as n"
    columns = (await query(backend, ALICE, sql)).columns
    assert [(column.name, column.type_name, column.kind, column.element_kind) for column in columns] == [
        ("n", "int8", Kind.INT, None),
        ("v", "varchar", Kind.TEXT, None),
        ("ids", "uuid[]", Kind.ARRAY, Kind.UUID),
        ("nothing", "text", Kind.TEXT, None),
        ("n", "int4", Kind.INT, None),
    ]
    assert [column.type_oid for column in columns] == [20, 1043, 2951, 25, 23]


MISFITS = [
    ("int2", Parameter(Kind.INT, 2**15)),
    ("int4", Parameter(Kind.FLOAT, 1.0)),
    ("int4", Parameter(Kind.NUMERIC, "1.5")),
    ("bool", Parameter(Kind.INT, 1)),
    ("numeric", Parameter(Kind.FLOAT, 0.1)),
    ("text", Parameter(Kind.INT, 1)),
    ("text", Parameter(Kind.TEXT, f"{CANARY}\0")),
    ("jsonb", Parameter(Kind.JSON, f'"{CANARY}\0"')),
    ("bytea", Parameter(Kind.UUID, bytes(16))),
    ("uuid", Parameter(Kind.UUID, bytes(15))),
    ("uuid", Parameter(Kind.TEXT, CANARY)),
    ("date", Parameter(Kind.DATE, 2_145_042_906)),
    ("time", Parameter(Kind.TIME, -1)),
    ("timestamptz", Parameter(Kind.TEXT, "2024-01-01T00:00:00")),
    ("int4", Parameter(Kind.ARRAY, (Parameter(Kind.INT, 1),))),
    ("int4[]", Parameter(Kind.INT, 1)),
]


@pytest.mark.parametrize(("type_name", "misfit"), MISFITS)
async def test_a_parameter_that_does_not_fit_is_refused(
    backend: Backend, type_name: str, misfit: Parameter
) -> None:
    refused = await refusal(backend, ALICE, f"select $1::{type_name}", misfit)
    assert refused.reason is Reason.PARAMETER_TYPE


async def test_an_array_of_more_dimensions_is_refused(backend: Backend) -> None:
    refused = await refusal(backend, ALICE, "select 1 as one, array[[1,2],[3,4]] as matrix")
    assert (refused.reason, refused.metadata["column"]) == (Reason.DATA_EXCEPTION, "matrix")
