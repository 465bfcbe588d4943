"""Answers as text: messages as JSON, rows from columns, and a table as psql draws it."""

from __future__ import annotations

import base64
import datetime
import json
from decimal import Decimal
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from usher.v1 import query_service_pb2, values_pb2

_EPOCH: Final = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock, or UTC where the type says so
_INFINITE_DAYS: Final = (2**31 - 1, -(2**31))
_INFINITE_SECONDS: Final = (2**63 - 1, -(2**63))


def json_text(content: Message | dict[str, Any]) -> str:
    """JSON for people. What a Struct loses is made good: 7 is not 7.0, and names have an order."""
    if isinstance(content, Struct):
        content = _tidy(MessageToDict(content))
    elif isinstance(content, Message):
        fields = MessageToDict(content, preserving_proto_field_name=True)
        content = {name: _tidy(value) for name, value in fields.items()}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _tidy(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _tidy(value[name]) for name in sorted(value)}
    return [_tidy(item) for item in value] if isinstance(value, list) else value


def names_of(response: query_service_pb2.RunScopedQueryResponse) -> list[str]:
    """The columns' names, each once: the second `id` is `id_2`."""
    names: list[str] = []
    for column in response.columns:
        name, count = column.name, 1
        while name in names:
            count += 1
            name = f"{column.name}_{count}"
        names.append(name)
    return names


def rows_of(response: query_service_pb2.RunScopedQueryResponse) -> list[list[Any]]:
    """The rows of a result in JSON's types; None for NULL. What JSON lacks is text."""
    columns = [
        _column(column.kind, column.element_kind, data, response.row_count)
        for column, data in zip(response.columns, response.data, strict=True)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def table(response: query_service_pb2.RunScopedQueryResponse) -> str:
    """The result as aligned columns."""
    names = [_text(column.name) for column in response.columns]
    rows = [["" if cell is None else _text(cell) for cell in row] for row in rows_of(response)]
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(names)]
    lines = [" | ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip()]
    lines.append("-+-".join("-" * width for width in widths))
    lines += [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "t" if cell else "f"
    if isinstance(cell, list):
        cell = json.dumps(cell, ensure_ascii=False)
    # Control characters of a value must not steer the terminal.
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(cell))


def _column(kind: int, element_kind: int, data: values_pb2.ColumnData, count: int) -> list[Any]:
    cells = _filled(kind, element_kind, data)
    if not data.nulls:
        return cells
    return [None if data.nulls[row >> 3] >> (row & 7) & 1 else cells[row] for row in range(count)]


def _filled(kind: int, element_kind: int, data: values_pb2.ColumnData) -> list[Any]:
    pb = values_pb2
    if kind == pb.KIND_BOOL:
        return list(data.bools)
    if kind == pb.KIND_INT:
        return list(data.ints)
    if kind == pb.KIND_FLOAT:
        return [value if abs(value) < float("inf") else str(value) for value in data.floats]
    if kind == pb.KIND_BYTES:
        return [base64.b64encode(value).decode() for value in data.blobs]
    if kind == pb.KIND_UUID:
        return [_uuid(value.hex()) for value in data.blobs]
    if kind == pb.KIND_DATE:
        return [_date(days) for days in data.dates]
    if kind == pb.KIND_TIME:
        return [_clock(micros) for micros in data.times]
    if kind in (pb.KIND_TIMESTAMP, pb.KIND_TIMESTAMPTZ):
        zone = "+00" if kind == pb.KIND_TIMESTAMPTZ else ""
        pairs = zip(data.timestamps.seconds, data.timestamps.micros, strict=True)
        return [_timestamp(seconds, micros, zone) for seconds, micros in pairs]
    if kind == pb.KIND_INTERVAL:
        parts = data.intervals
        triples = zip(parts.months, parts.days, parts.micros, strict=True)
        return [_interval(*triple) for triple in triples]
    if kind == pb.KIND_ARRAY:
        arrays = data.arrays
        elements = iter(_column(element_kind, 0, arrays.elements, sum(arrays.lengths)))
        return [[next(elements) for _ in range(length)] for length in arrays.lengths]
    return list(data.texts)


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) if digits else ""


def _date(days: int) -> str:
    if days in _INFINITE_DAYS:
        return "infinity" if days > 0 else "-infinity"
    try:
        return (_EPOCH + datetime.timedelta(days=days)).date().isoformat()
    except OverflowError:
        return f"{days} days since 1970-01-01"


def _timestamp(seconds: int, micros: int, zone: str) -> str:
    if seconds in _INFINITE_SECONDS:
        return "infinity" if seconds > 0 else "-infinity"
    try:
        return (_EPOCH + datetime.timedelta(seconds=seconds, microseconds=micros)).isoformat(" ") + zone
    except OverflowError:
        return f"{seconds + Decimal(micros) / 1_000_000:.6f} s since 1970-01-01"


def _interval(months: int, days: int, micros: int) -> str:
    for at, name in enumerate(("infinity", "-infinity")):
        if (months, days, micros) == (_INFINITE_DAYS[at], _INFINITE_DAYS[at], _INFINITE_SECONDS[at]):
            return name
    return f"{months} mons {days} days {_clock(micros)}"


def _clock(micros: int) -> str:
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    seconds, rest = divmod(micros, 1_000_000)
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:06}" if rest else text
