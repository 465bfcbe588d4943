"""The values of rows and parameters: core forms to messages and back.

A column becomes one message of packed lists; a message a cell would cost five times as much
(docs/adr/0002-row-layout.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

from usher.v1 import values_pb2

from sidecar.core.errors import Reason, invalid_field
from sidecar.core.values import NULL, Column, Kind, Parameter

# What stands where `nulls` marks a row: anything of the right type.
_FILLERS: Final[dict[Kind, Any]] = {
    Kind.BOOL: False,
    Kind.INT: 0,
    Kind.FLOAT: 0.0,
    Kind.TEXT: "",
    Kind.BYTES: b"",
    Kind.NUMERIC: "",
    Kind.DATE: 0,
    Kind.TIME: 0,
    Kind.TIMESTAMP: (0, 0),
    Kind.TIMESTAMPTZ: (0, 0),
    Kind.INTERVAL: (0, 0, 0),
    Kind.UUID: b"",
    Kind.JSON: "",
    Kind.OTHER: "",
    Kind.ARRAY: (),
}

# The list of ColumnData in which a kind's values travel as they are.
_LISTS: Final = {
    Kind.BOOL: "bools",
    Kind.INT: "ints",
    Kind.FLOAT: "floats",
    Kind.TEXT: "texts",
    Kind.NUMERIC: "texts",
    Kind.JSON: "texts",
    Kind.OTHER: "texts",
    Kind.BYTES: "blobs",
    Kind.UUID: "blobs",
    Kind.DATE: "dates",
    Kind.TIME: "times",
}

_PARAMETER_KINDS: Final = {
    "bool_value": Kind.BOOL,
    "int_value": Kind.INT,
    "float_value": Kind.FLOAT,
    "text_value": Kind.TEXT,
    "bytes_value": Kind.BYTES,
    "numeric_value": Kind.NUMERIC,
    "date_value": Kind.DATE,
    "time_value": Kind.TIME,
    "uuid_value": Kind.UUID,
    "json_value": Kind.JSON,
}


def column_data(column: Column, values: Sequence[Any]) -> values_pb2.ColumnData:
    """One column's values, in the Python form of the column's kind, as a message."""
    return _column_data(column.kind, column.element_kind, values)


def _column_data(kind: Kind, element_kind: Kind | None, values: Sequence[Any]) -> values_pb2.ColumnData:
    nulls = b""
    if None in values:
        nulls = _bitmap(values)
        filler = _FILLERS[kind]
        values = [filler if value is None else value for value in values]

    if kind is Kind.TIMESTAMP or kind is Kind.TIMESTAMPTZ:
        seconds, micros = zip(*values, strict=True) if values else ((), ())
        return values_pb2.ColumnData(
            nulls=nulls, timestamps=values_pb2.TimestampData(seconds=seconds, micros=micros)
        )
    if kind is Kind.INTERVAL:
        months, days, micros = zip(*values, strict=True) if values else ((), (), ())
        return values_pb2.ColumnData(
            nulls=nulls, intervals=values_pb2.IntervalData(months=months, days=days, micros=micros)
        )
    if kind is Kind.ARRAY:
        assert element_kind is not None
        elements = list(itertools.chain.from_iterable(values))
        return values_pb2.ColumnData(
            nulls=nulls,
            arrays=values_pb2.ArrayData(
                lengths=[len(array) for array in values], elements=_column_data(element_kind, None, elements)
            ),
        )
    return values_pb2.ColumnData(nulls=nulls, **{_LISTS[kind]: values})  # type: ignore[arg-type]


def _bitmap(values: Sequence[Any]) -> bytes:
    """One bit a value, least significant bit of the first byte first; 1 is NULL."""
    octets = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if value is None:
            octets[index // 8] |= 1 << (index % 8)
    return bytes(octets)


def parameters(values: Iterable[values_pb2.Value], place: str = "") -> tuple[Parameter, ...]:
    """The parameters of a statement, which is at `place` in the request message. Raises as parameter does."""
    return tuple(parameter(value, f"{place}parameters[{index}]") for index, value in enumerate(values))


def parameter(value: values_pb2.Value, path: str) -> Parameter:
    """One parameter of a request; `path` is its place in the request message ("parameters[0]").

    Raises UsherError with PARAMETER_TYPE for an array inside an array.
    """
    name = value.WhichOneof("kind")
    if name is None:
        return NULL
    if name == "array_value":
        return Parameter(
            Kind.ARRAY,
            tuple(
                _element(element, f"{path}.array_value.elements[{index}]")
                for index, element in enumerate(value.array_value.elements)
            ),
        )
    if name == "timestamp_value":
        return Parameter(Kind.TIMESTAMP, (value.timestamp_value.seconds, value.timestamp_value.micros))
    if name == "interval_value":
        interval = value.interval_value
        return Parameter(Kind.INTERVAL, (interval.months, interval.days, interval.micros))
    return Parameter(_PARAMETER_KINDS[name], getattr(value, name))


def _element(value: values_pb2.Value, path: str) -> Parameter:
    if value.WhichOneof("kind") == "array_value":
        raise invalid_field(
            path,
            "an array inside an array cannot travel; send text_value, and cast it in SQL ($1::text::int[])",
            Reason.PARAMETER_TYPE,
        )
    return parameter(value, path)
