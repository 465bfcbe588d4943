"""Answers as text: JSON, and a table as psql draws it."""

from __future__ import annotations

import json

import pytest
from google.protobuf.struct_pb2 import Struct
from usher import Result
from usher.v1 import query_service_pb2 as pb
from usher.v1 import token_service_pb2, values_pb2

from sidecar.cli.render import csv_lines, json_text, names_of, rows_of, table

INT64_MAX, INT32_MAX = 2**63 - 1, 2**31 - 1
Data = values_pb2.ColumnData


def response(*columns: tuple[str, int, Data], rows: int, element_kind: int = 0) -> Result:
    answer = pb.RunScopedQueryResponse(
        columns=[
            values_pb2.Column(name=name, kind=kind, element_kind=element_kind) for name, kind, _ in columns
        ],
        data=[data for _, _, data in columns],
        row_count=rows,
    )
    return Result(answer, json_text=True)


def cells(kind: int, data: Data, rows: int, element_kind: int = 0) -> list[object]:
    return [row[0] for row in rows_of(response(("c", kind, data), rows=rows, element_kind=element_kind))]


def test_plain_values() -> None:
    pb_ = values_pb2
    assert cells(pb_.KIND_BOOL, Data(bools=[True, False]), 2) == [True, False]
    assert cells(pb_.KIND_INT, Data(ints=[INT64_MAX, -(2**63)]), 2) == [INT64_MAX, -(2**63)]
    assert cells(pb_.KIND_TEXT, Data(texts=["é", ""]), 2) == ["é", ""]
    numerics = ["1.10", "0.0000001", "1" + "0" * 40, "NaN", "-Infinity"]
    assert cells(pb_.KIND_NUMERIC, Data(texts=numerics), 5) == numerics
    assert cells(pb_.KIND_JSON, Data(texts=['{"n":10000000000000000001}']), 1) == [
        '{"n":10000000000000000001}'
    ]
    assert cells(pb_.KIND_BYTES, Data(blobs=[b"\x00\xff"]), 1) == ["AP8="]
    assert cells(pb_.KIND_UUID, Data(blobs=[bytes(range(16))]), 1) == ["00010203-0405-0607-0809-0a0b0c0d0e0f"]


def test_numbers_that_json_lacks_are_text() -> None:
    values = cells(values_pb2.KIND_FLOAT, Data(floats=[0.5, float("inf"), float("-inf"), float("nan")]), 4)
    assert values == [0.5, "inf", "-inf", "nan"]
    json.dumps(values, allow_nan=False)


def test_nulls_are_null_whatever_the_filler() -> None:
    data = Data(ints=list(range(10)), nulls=bytes([0b1000_0001, 0b10]))
    assert cells(values_pb2.KIND_INT, data, 10) == [None, 1, 2, 3, 4, 5, 6, None, 8, None]
    assert cells(values_pb2.KIND_UUID, Data(blobs=[b""], nulls=b"\x01"), 1) == [None]


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (INT32_MAX, "infinity"),
        (-(2**31), "-infinity"),
        (10**8, "275760-09-13"),
        (-(10**6), "0769-02-04 BC"),
    ],
)
def test_dates(days: int, text: str) -> None:
    assert cells(values_pb2.KIND_DATE, Data(dates=[days]), 1) == [text]


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "00:00:00"),
        (86_400_000_000, "24:00:00"),
        (1, "00:00:00.000001"),
        (3_723_500_000, "01:02:03.500000"),
    ],
)
def test_times(micros: int, text: str) -> None:
    assert cells(values_pb2.KIND_TIME, Data(times=[micros]), 1) == [text]


@pytest.mark.parametrize(
    ("seconds", "micros", "text", "zone"),
    [
        (0, 0, "1970-01-01 00:00:00", "+00"),
        (-1, 999_999, "1969-12-31 23:59:59.999999", "+00"),
        (10**12, 5, "33658-09-27 01:46:40.000005", "+00"),
        (-62_135_596_801, 5, "0001-12-31 23:59:59.000005", "+00 BC"),
        (INT64_MAX, 0, "infinity", ""),
        (-(2**63), 0, "-infinity", ""),
    ],
)
def test_timestamps(seconds: int, micros: int, text: str, zone: str) -> None:
    data = Data(timestamps=values_pb2.TimestampData(seconds=[seconds], micros=[micros]))
    assert cells(values_pb2.KIND_TIMESTAMP, data, 1) == [text + zone.replace("+00", "")]
    assert cells(values_pb2.KIND_TIMESTAMPTZ, data, 1) == [text + zone]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((1, 2, 3_000_000), "1 mons 2 days 00:00:03"),
        ((0, -1, -500_000), "0 mons -1 days -00:00:00.500000"),
        ((INT32_MAX, INT32_MAX, INT64_MAX), "infinity"),
        ((-(2**31), -(2**31), -(2**63)), "-infinity"),
    ],
)
def test_intervals(parts: tuple[int, int, int], text: str) -> None:
    months, days, micros = parts
    data = Data(intervals=values_pb2.IntervalData(months=[months], days=[days], micros=[micros]))
    assert cells(values_pb2.KIND_INTERVAL, data, 1) == [text]


def test_arrays() -> None:
    elements = Data(ints=[1, 0, 3], nulls=b"\x02")
    data = Data(arrays=values_pb2.ArrayData(lengths=[2, 0, 1, 0], elements=elements), nulls=b"\x08")
    assert cells(values_pb2.KIND_ARRAY, data, 4, values_pb2.KIND_INT) == [[1, None], [], [3], None]


def test_a_table() -> None:
    answer = response(
        ("id", values_pb2.KIND_INT, Data(ints=[1, 20])),
        ("name", values_pb2.KIND_TEXT, Data(texts=["Alice", ""], nulls=b"\x02")),
        ("ok", values_pb2.KIND_BOOL, Data(bools=[True, False])),
        rows=2,
    )
    assert table(answer).split("\n") == [
        "id | name  | ok",
        "---+-------+---",
        "1  | Alice | t",
        "20 |       | f",
    ]


def test_a_table_without_rows() -> None:
    assert table(response(("id", values_pb2.KIND_INT, Data()), rows=0)) == "id\n--"


def test_an_array_in_a_table_is_json() -> None:
    data = Data(arrays=values_pb2.ArrayData(lengths=[2], elements=Data(texts=["a", ""], nulls=b"\x02")))
    answer = response(("tags", values_pb2.KIND_ARRAY, data), rows=1, element_kind=values_pb2.KIND_TEXT)
    assert table(answer).split("\n")[2] == '["a", null]'


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "\x9b31m", "\u202e"])
def test_no_value_or_name_steers_the_terminal(hostile: str) -> None:
    answer = response((hostile, values_pb2.KIND_TEXT, Data(texts=[hostile])), rows=1)
    shown = table(answer)
    assert shown.count("\n") == 2
    assert all(char.isprintable() for char in shown.replace("\n", ""))


def test_names_are_made_unique() -> None:
    data = Data(ints=[1])
    answer = response(*[(name, values_pb2.KIND_INT, data) for name in ("id", "id", "id_2", "id")], rows=1)
    assert names_of(answer.columns) == ["id", "id_2", "id_2_2", "id_3"]


def test_whole_numbers_of_a_struct_stay_whole_and_its_names_have_an_order() -> None:
    struct = Struct()
    struct.update(
        {"ratio": 0.5, "exp": 1_900_000_000, "list": [1, {"z": 2**53, "a": 1}], "ok": True, "no": None}
    )
    expected = (
        '{"exp": 1900000000, "list": [1, {"a": 1, "z": 9007199254740992}], '
        '"no": null, "ok": true, "ratio": 0.5}'
    )
    assert json.dumps(json.loads(json_text(struct))) == expected
    issued = token_service_pb2.IssueTokenResponse(token="t", kid="k", claims=struct)
    answer = json.loads(json_text(issued))
    assert list(answer) == ["token", "kid", "claims"]
    assert json.dumps(answer["claims"]) == expected


def test_other_languages_stay_readable() -> None:
    assert json_text({"name": "Zoë"}) == '{\n  "name": "Zoë"\n}'


def test_csv_tells_null_from_an_empty_text_and_quotes_what_would_be_misread() -> None:
    texts = ["a", "", "", 'say "hi", all', "two\nlines", " edge", "\\."]
    answer = response(("na,me", values_pb2.KIND_TEXT, Data(texts=texts, nulls=b"\x02")), rows=7)
    assert list(csv_lines(answer)) == [
        '"na,me"',
        "a",
        "",
        '""',
        '"say ""hi"", all"',
        '"two\nlines"',
        '" edge"',
        '"\\."',
    ]


def test_csv_has_values_as_postgres_reads_them() -> None:
    elements = Data(texts=['a "b"', "", "back\\slash", "x"], nulls=b"\x02")
    texts = response(
        ("a", values_pb2.KIND_ARRAY, Data(arrays=values_pb2.ArrayData(lengths=[4], elements=elements))),
        rows=1,
        element_kind=values_pb2.KIND_TEXT,
    )
    assert list(csv_lines(texts))[1] == r'"{""a \""b\"""",NULL,""back\\slash"",""x""}"'
    plain = response(
        ("b", values_pb2.KIND_BOOL, Data(bools=[True])),
        ("o", values_pb2.KIND_BYTES, Data(blobs=[b"\x00\xff"])),
        ("d", values_pb2.KIND_DATE, Data(dates=[-(10**6)])),
        rows=1,
    )
    assert list(csv_lines(plain))[1] == r"t,\x00ff,0769-02-04 BC"
