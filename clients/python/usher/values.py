"""Values of Postgres as Python's own, exactly, both ways. The table is in clients/CONTRACT.md."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from usher.errors import invalid
from usher.v1 import values_pb2 as pb

_EPOCH: Final = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock, or UTC where the type says so
_DAY: Final = 86_400_000_000
_EXACT: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Json:
    """A parameter for json or jsonb: anything that json.dumps takes."""

    value: Any


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval as Postgres keeps it: parts that do not convert into each other."""

    months: int = 0
    days: int = 0
    micros: int = 0


@dataclass(frozen=True, slots=True)
class FarDate:
    """A date that datetime.date does not hold: days since 1970-01-01; 2^31-1 and -2^31 are infinite."""

    days: int


@dataclass(frozen=True, slots=True)
class FarTime:
    """A time that datetime.time does not hold: 24:00:00, in microseconds."""

    micros: int


@dataclass(frozen=True, slots=True)
class FarTimestamp:
    """A timestamp that datetime does not hold: seconds since 1970; 2^63-1 and -2^63 are infinite."""

    seconds: int
    micros: int
    utc: bool = False
    """Whether it is a timestamptz."""


def parameter(value: Any, place: str) -> pb.Value:
    """A parameter's message. Raises UsherError CLIENT_INVALID naming `place` for what cannot be sent."""
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            try:
                return write(value)
            except (ValueError, OverflowError, TypeError):
                raise invalid(f"{place}: this value cannot be sent") from None
    if isinstance(value, (list, tuple)):
        elements = [parameter(item, f"{place}[{at}]") for at, item in enumerate(value)]
        return pb.Value(array_value=pb.ArrayValue(elements=elements))
    raise invalid(f"{place}: {type(value).__name__} is no type that is sent; wrap JSON in usher.Json")


def _int(value: int) -> pb.Value:
    if -(2**63) <= value < 2**63:
        return pb.Value(int_value=value)
    return pb.Value(numeric_value=str(value))


def _timestamp(value: datetime.datetime) -> pb.Value:
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    seconds, micros = divmod((value - _EPOCH) // datetime.timedelta(microseconds=1), 1_000_000)
    return pb.Value(timestamp_value=pb.Timestamp(seconds=seconds, micros=micros))


def _time(value: datetime.time) -> pb.Value:
    if value.tzinfo is not None:
        raise ValueError
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    return pb.Value(time_value=seconds * 1_000_000 + value.microsecond)


def _interval(months: int, days: int, micros: int) -> pb.Value:
    return pb.Value(interval_value=pb.Interval(months=months, days=days, micros=micros))


def _date(value: datetime.date) -> pb.Value:
    return pb.Value(date_value=(value - _EPOCH.date()).days)


_WRITERS: Final[tuple[tuple[Any, Callable[[Any], pb.Value]], ...]] = (
    # A bool is an int, and a datetime a date: the first that fits writes.
    (type(None), lambda value: pb.Value()),
    (bool, lambda value: pb.Value(bool_value=value)),
    (int, _int),
    (float, lambda value: pb.Value(float_value=value)),
    (str, lambda value: pb.Value(text_value=value)),
    ((bytes, bytearray, memoryview), lambda value: pb.Value(bytes_value=bytes(value))),
    (decimal.Decimal, lambda value: pb.Value(numeric_value=str(value))),
    (datetime.datetime, _timestamp),
    (datetime.date, _date),
    (datetime.time, _time),
    (
        datetime.timedelta,
        lambda value: _interval(0, value.days, value.seconds * 1_000_000 + value.microseconds),
    ),
    (uuid.UUID, lambda value: pb.Value(uuid_value=value.bytes)),
    (Json, lambda value: pb.Value(json_value=json.dumps(value.value, allow_nan=False, ensure_ascii=False))),
    (Interval, lambda value: _interval(value.months, value.days, value.micros)),
    (FarDate, lambda value: pb.Value(date_value=value.days)),
    (FarTime, lambda value: pb.Value(time_value=value.micros)),
    (
        FarTimestamp,
        lambda value: pb.Value(timestamp_value=pb.Timestamp(seconds=value.seconds, micros=value.micros)),
    ),
)


def column(meta: pb.Column, data: pb.ColumnData, count: int, *, json_text: bool) -> list[Any]:
    """The values of a column, None for NULL."""
    return _column(meta.kind, meta.element_kind, data, count, json_text)


def _column(kind: int, element_kind: int, data: pb.ColumnData, count: int, json_text: bool) -> list[Any]:
    if kind == pb.KIND_ARRAY:
        lengths = data.arrays.lengths
        elements = iter(_column(element_kind, 0, data.arrays.elements, sum(lengths), json_text))
        cells: list[Any] = [[next(elements) for _ in range(length)] for length in lengths]
    else:
        cells = list(_READERS[pb.KIND_OTHER if json_text and kind == pb.KIND_JSON else kind](data))
    nulls = data.nulls
    if nulls:
        return [None if nulls[row >> 3] >> (row & 7) & 1 else cells[row] for row in range(count)]
    return cells


def _read_date(days: int) -> datetime.date | FarDate:
    try:
        return (_EPOCH + datetime.timedelta(days=days)).date()
    except OverflowError:
        return FarDate(days)


def _read_time(micros: int) -> datetime.time | FarTime:
    return (
        (_EPOCH + datetime.timedelta(microseconds=micros)).time() if 0 <= micros < _DAY else FarTime(micros)
    )


def _read_timestamps(data: pb.ColumnData, zone: datetime.timezone | None) -> Iterator[Any]:
    epoch = _EPOCH.replace(tzinfo=zone)
    for seconds, micros in zip(data.timestamps.seconds, data.timestamps.micros, strict=True):
        try:
            yield epoch + datetime.timedelta(seconds=seconds, microseconds=micros)
        except OverflowError:
            yield FarTimestamp(seconds, micros, utc=zone is not None)


def _read_intervals(data: pb.ColumnData) -> Iterator[Interval]:
    parts = data.intervals
    return map(Interval, parts.months, parts.days, parts.micros)


def _uuid(octets: bytes) -> uuid.UUID | None:
    return uuid.UUID(bytes=octets) if octets else None  # a NULL's filler is empty


_READERS: Final[Mapping[int, Callable[[pb.ColumnData], Any]]] = {
    pb.KIND_BOOL: lambda data: data.bools,
    pb.KIND_INT: lambda data: data.ints,
    pb.KIND_FLOAT: lambda data: data.floats,
    pb.KIND_TEXT: lambda data: data.texts,
    pb.KIND_OTHER: lambda data: data.texts,
    pb.KIND_BYTES: lambda data: data.blobs,
    pb.KIND_NUMERIC: lambda data: (decimal.Decimal(text or "NaN") for text in data.texts),
    pb.KIND_JSON: lambda data: (json.loads(text or "null") for text in data.texts),
    pb.KIND_UUID: lambda data: map(_uuid, data.blobs),
    pb.KIND_DATE: lambda data: map(_read_date, data.dates),
    pb.KIND_TIME: lambda data: map(_read_time, data.times),
    pb.KIND_TIMESTAMP: lambda data: _read_timestamps(data, None),
    pb.KIND_TIMESTAMPTZ: lambda data: _read_timestamps(data, datetime.UTC),
    pb.KIND_INTERVAL: _read_intervals,
}


def claims_struct(claims: Mapping[str, Any] | None) -> Struct:
    """Claims as a message. Raises UsherError for what it would not hold as it is."""
    _check_claim(claims or {})
    made = Struct()
    try:
        made.update(dict(claims or {}))
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError):
        raise invalid("claims: names are text; values are null, bool, number, text, list or object") from None
    return made


def claims_dict(message: Any) -> Any:
    """Claims from a message: whole numbers are integers again."""
    kind = message.WhichOneof("kind") if hasattr(message, "WhichOneof") and message.DESCRIPTOR.oneofs else ""
    if isinstance(message, Struct):
        return {name: claims_dict(value) for name, value in message.fields.items()}
    if kind == "struct_value":
        return claims_dict(message.struct_value)
    if kind == "list_value":
        return [claims_dict(value) for value in message.list_value.values]
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    return None if kind in ("null_value", None) else getattr(message, kind)


def _check_claim(value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        raise invalid(
            "claims: an integer beyond 2^53 - 1 would be rounded; send it as text", "CLAIM_NOT_EXACT"
        )
    if isinstance(value, Mapping):
        for item in value.values():
            _check_claim(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_claim(item)
