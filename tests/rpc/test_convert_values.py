"""Values of rows and parameters survive the trip through their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usher.v1 import values_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import NULL, Column, Kind, Parameter
from sidecar.services.convert_values import column_data, parameter

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(blacklist_categories=("Cs",)))
MOMENTS = st.tuples(INT64, st.integers(0, 999_999))
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOL: st.booleans(),
    Kind.INT: INT64,
    Kind.FLOAT: st.floats(allow_nan=False),
    Kind.TEXT: TEXTS,
    Kind.BYTES: st.binary(),
    Kind.NUMERIC: st.decimals().map(str),
    Kind.DATE: INT32,
    Kind.TIME: st.integers(0, 86_400_000_000),
    Kind.TIMESTAMP: MOMENTS,
    Kind.TIMESTAMPTZ: MOMENTS,
    Kind.INTERVAL: st.tuples(INT32, INT32, INT64),
    Kind.UUID: st.binary(min_size=16, max_size=16),
    Kind.JSON: TEXTS,
    Kind.OTHER: TEXTS,
}
LISTS = {
    Kind.BOOL: "bools",
    Kind.INT: "ints",
    Kind.FLOAT: "floats",
    Kind.BYTES: "blobs",
    Kind.UUID: "blobs",
    Kind.DATE: "dates",
    Kind.TIME: "times",
}


def column(kind: Kind, element_kind: Kind | None = None) -> Column:
    return Column(name="c", type_name="t", type_oid=1, kind=kind, element_kind=element_kind)


def read_back(data: values_pb2.ColumnData, kind: Kind, element_kind: Kind | None = None) -> list[Any]:
    """A reader written from the comments in values.proto alone."""
    values: list[Any]
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        values = list(zip(data.timestamps.seconds, data.timestamps.micros, strict=True))
    elif kind is Kind.INTERVAL:
        parts = data.intervals
        values = list(zip(parts.months, parts.days, parts.micros, strict=True))
    elif kind is Kind.ARRAY:
        assert element_kind is not None
        elements = iter(read_back(data.arrays.elements, element_kind))
        values = [[next(elements) for _ in range(length)] for length in data.arrays.lengths]
        assert list(elements) == []
    else:
        values = list(getattr(data, LISTS.get(kind, "texts")))
    if data.nulls:
        assert len(data.nulls) == (len(values) + 7) // 8
        values = [
            None if data.nulls[row // 8] >> (row % 8) & 1 else value for row, value in enumerate(values)
        ]
    return values


def on_the_wire(data: values_pb2.ColumnData) -> values_pb2.ColumnData:
    return values_pb2.ColumnData.FromString(data.SerializeToString())


@pytest.mark.parametrize("kind", VALUES)
def test_columns_survive(kind: Kind) -> None:
    @given(st.lists(st.none() | VALUES[kind], max_size=20))
    def check(values: list[Any]) -> None:
        for sequence in (values, tuple(values)):
            data = on_the_wire(column_data(column(kind), sequence))
            assert read_back(data, kind) == values
            assert bool(data.nulls) == (None in values)

    check()


@pytest.mark.parametrize("element_kind", VALUES)
def test_arrays_survive(element_kind: Kind) -> None:
    @given(st.lists(st.none() | st.lists(st.none() | VALUES[element_kind], max_size=4), max_size=10))
    def check(values: list[Any]) -> None:
        data = on_the_wire(column_data(column(Kind.ARRAY, element_kind), values))
        assert read_back(data, Kind.ARRAY, element_kind) == values

    check()


def test_nulls_start_at_the_lowest_bit() -> None:
    values: Sequence[int | None] = (None, 1, 2, 3, 4, 5, 6, None, None)
    assert column_data(column(Kind.INT), values).nulls == bytes([0b1000_0001, 0b1])


FIELDS = {
    "bool_value": (Kind.BOOL, VALUES[Kind.BOOL]),
    "int_value": (Kind.INT, INT64),
    "float_value": (Kind.FLOAT, VALUES[Kind.FLOAT]),
    "text_value": (Kind.TEXT, TEXTS),
    "bytes_value": (Kind.BYTES, st.binary()),
    "numeric_value": (Kind.NUMERIC, VALUES[Kind.NUMERIC]),
    "date_value": (Kind.DATE, INT32),
    "time_value": (Kind.TIME, INT64),
    "uuid_value": (Kind.UUID, VALUES[Kind.UUID]),
    "json_value": (Kind.JSON, TEXTS),
}


@pytest.mark.parametrize("field", FIELDS)
def test_parameters_survive(field: str) -> None:
    kind, values = FIELDS[field]

    @given(values)
    def check(value: Any) -> None:
        message = values_pb2.Value(**{field: value})
        message = values_pb2.Value.FromString(message.SerializeToString())
        assert parameter(message, "parameters[0]") == Parameter(kind, value)

    check()


def test_parameters_of_several_parts() -> None:
    timestamp = values_pb2.Value(timestamp_value=values_pb2.Timestamp(seconds=-(2**63), micros=7))
    assert parameter(timestamp, "p") == Parameter(Kind.TIMESTAMP, (-(2**63), 7))
    interval = values_pb2.Value(interval_value=values_pb2.Interval(months=-1, days=2, micros=-(2**63)))
    assert parameter(interval, "p") == Parameter(Kind.INTERVAL, (-1, 2, -(2**63)))


def test_an_unset_value_is_null() -> None:
    assert parameter(values_pb2.Value(), "p") is NULL
    array = values_pb2.ArrayValue(elements=[values_pb2.Value(), values_pb2.Value(int_value=0)])
    assert parameter(values_pb2.Value(array_value=array), "p") == Parameter(
        Kind.ARRAY, (NULL, Parameter(Kind.INT, 0))
    )


def test_every_form_of_the_contract_is_read() -> None:
    several_parts = {"timestamp_value", "interval_value", "array_value"}
    in_contract = {field.name for field in values_pb2.Value.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert in_contract == set(FIELDS) | several_parts


def test_an_array_in_an_array_is_refused_by_its_path() -> None:
    inner = values_pb2.Value(array_value=values_pb2.ArrayValue())
    outer = values_pb2.Value(array_value=values_pb2.ArrayValue(elements=[values_pb2.Value(), inner]))
    with pytest.raises(UsherError) as caught:
        parameter(outer, "parameters[2]")
    assert caught.value.reason is Reason.PARAMETER_TYPE
    assert caught.value.metadata == {"field": "parameters[2].array_value.elements[1]"}
