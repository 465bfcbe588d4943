"""Values in Postgres' text form: arguments on their way there, results on their way back.

Neon takes parameters as text and, asked for raw text output, gives every value as Postgres prints it. With
the settings that `batch` makes first, that text holds all of the value.
"""

from __future__ import annotations

import datetime
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import DATE_INFINITY, DATE_MINUS_INFINITY, Column, Kind
from sidecar.postgres import text_forms
from sidecar.postgres.array_literals import NestedArrayError, format_array, parse_array
from sidecar.postgres.builtin_types import VOID_OID, PostgresType
from sidecar.postgres.values import EPOCH_DAYS, MICROS, MICROS_INFINITY, MICROS_MINUS_INFINITY, nested_array

_EPOCH_ORDINAL: Final = datetime.date(1970, 1, 1).toordinal() + EPOCH_DAYS
_DAYS_IN_400_YEARS: Final = 146_097
_DAY_MICROS: Final = 86_400 * MICROS


def to_text(type_: PostgresType, argument: Any) -> str | None:
    """An argument of `parameters.bind` as the text that Postgres reads for its type."""
    if argument is None or type_.text_form:
        return argument  # type: ignore[no-any-return]  # by bind, a text
    if type_.element is not None:
        element = type_.element
        return format_array([to_text(element, item) for item in argument], element.delimiter)
    return _WRITERS.get(type_.kind, str)(argument)


def columnar(
    columns: Sequence[Column], types: Sequence[PostgresType], rows: Sequence[Sequence[str | None]]
) -> tuple[Sequence[Any], ...]:
    """The rows as one sequence a column, in the Python forms of `core.values`.

    Raises UsherError with DATA_EXCEPTION for an array of more than one dimension, and for a text that is not
    in the form of its type: a statement may change the settings that decide the form.
    """
    if not rows:
        return tuple(() for _ in columns)
    data: list[Sequence[Any]] = []
    for column, type_, texts in zip(columns, types, zip(*rows, strict=True), strict=True):
        try:
            data.append(_column(type_, texts))
        except NestedArrayError:
            raise nested_array(column.name) from None
        except (ValueError, OverflowError):
            raise UsherError(
                Reason.DATA_EXCEPTION,
                f"column {column.name!r} holds a {type_.name} in a form that is not Postgres' usual one; "
                "leave DateStyle, IntervalStyle and bytea_output alone, or cast it to text",
                {"column": column.name},
            ) from None
    return tuple(data)


def _column(type_: PostgresType, texts: Sequence[str | None]) -> Sequence[Any]:
    if type_.oid == VOID_OID:
        return [None] * len(texts)
    read = _reader(type_)
    return texts if read is None else [None if text is None else read(text) for text in texts]


def _reader(type_: PostgresType) -> Callable[[str], Any] | None:
    """From text to the canonical value; None where that is the text."""
    if type_.element is not None:
        delimiter, read = type_.element.delimiter, _reader(type_.element)
        if read is None:
            return lambda text: parse_array(text, delimiter)
        return lambda text: [None if item is None else read(item) for item in parse_array(text, delimiter)]
    return _float4 if type_.name == "float4" else _READERS.get(type_.kind)


def _float4(text: str) -> float:
    """Of the doubles near a text that tells one float4, the one that equals it."""
    return struct.unpack("f", struct.pack("f", float(text)))[0]  # type: ignore[no-any-return]


_READERS: Final[dict[Kind, Callable[[str], Any]]] = {
    Kind.BOOL: text_forms.parse_bool,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BYTES: text_forms.parse_bytes,
    Kind.DATE: text_forms.parse_date,
    Kind.TIME: text_forms.parse_time,
    Kind.TIMESTAMP: text_forms.parse_timestamp,
    Kind.TIMESTAMPTZ: text_forms.parse_timestamptz,
    Kind.INTERVAL: text_forms.parse_interval,
    Kind.UUID: text_forms.parse_uuid,
}


def _write_float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_date(days: int) -> str:
    if days == DATE_INFINITY:
        return "infinity"
    if days == DATE_MINUS_INFINITY:
        return "-infinity"
    day, era = _day_and_era(days)
    return day + era


def _write_timestamp(micros: int) -> str:
    if micros == MICROS_INFINITY:
        return "infinity"
    if micros == MICROS_MINUS_INFINITY:
        return "-infinity"
    days, rest = divmod(micros, _DAY_MICROS)
    day, era = _day_and_era(days)
    # A timestamp without time zone ignores the offset (PostgreSQL documentation, section 8.5.1.3).
    return f"{day} {_clock(rest)}+00{era}"


def _day_and_era(days: int) -> tuple[str, str]:
    """A day since 2000-01-01 in the Gregorian calendar without end; the calendar repeats every 400 years."""
    cycles, rest = divmod(days + _EPOCH_ORDINAL - 1, _DAYS_IN_400_YEARS)
    date = datetime.date.fromordinal(rest + 1)
    year = date.year + 400 * cycles
    era = "" if year > 0 else " BC"
    return f"{year if year > 0 else 1 - year:04}-{date.month:02}-{date.day:02}", era


def _clock(micros: int) -> str:
    seconds, fraction = divmod(micros, MICROS)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"


def _write_interval(parts: tuple[int, int, int]) -> str:
    if parts == text_forms.INTERVAL_INFINITY:
        return "infinity"
    if parts == text_forms.INTERVAL_MINUS_INFINITY:
        return "-infinity"
    months, days, micros = parts
    return f"{months} mons {days} days {'-' if micros < 0 else ''}{_clock(abs(micros))}"


_WRITERS: Final[dict[Kind, Callable[[Any], str]]] = {
    Kind.BOOL: lambda value: "true" if value else "false",
    Kind.FLOAT: _write_float,
    Kind.BYTES: lambda value: rf"\x{value.hex()}",
    Kind.DATE: _write_date,
    Kind.TIME: _clock,
    Kind.TIMESTAMP: _write_timestamp,
    Kind.TIMESTAMPTZ: _write_timestamp,
    Kind.INTERVAL: _write_interval,
    Kind.UUID: lambda value: value.hex(),
}
"""By kind, for what `bind` gives; whole numbers and texts need none."""
