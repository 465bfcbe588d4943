"""Parameters: from what the caller sent to what asyncpg puts on the wire, checked in between.

Everything is checked here, because asyncpg's own errors show the value they refuse. Ours never do.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.core.errors import FieldViolation, Reason, UsherError
from sidecar.core.values import (
    DATE_INFINITY,
    DATE_MINUS_INFINITY,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
    Kind,
    Parameter,
)
from sidecar.postgres import text_forms
from sidecar.postgres.array_literals import format_array, parse_array
from sidecar.postgres.builtin_types import PostgresType
from sidecar.postgres.values import EPOCH_DAYS, EPOCH_SECONDS, MICROS, MICROS_INFINITY, MICROS_MINUS_INFINITY

_UNSIGNED_32: Final = (0, 2**32 - 1)
_INT_RANGES: Final = {
    "int2": (-(2**15), 2**15 - 1),
    "int4": (-(2**31), 2**31 - 1),
    "int8": (-(2**63), 2**63 - 1),
    "oid": _UNSIGNED_32,
    "xid": _UNSIGNED_32,
    "cid": _UNSIGNED_32,
}

# 4714-11-24 BC to 5874897-12-31, in days since 1970 (documentation, table 8.9).
_FIRST_DAY: Final = -2_440_588
_LAST_DAY: Final = 2_145_042_905
# 4714-11-24 BC to 294276-12-31, in microseconds since 2000.
_FIRST_MICRO: Final = -211_813_488_000_000_000
_LAST_MICRO: Final = 9_223_371_331_200_000_000 - 1
_DAY_MICROS: Final = 86_400 * MICROS

_CHAR: Final = re.compile(r"[\x01-\x7f]?|\\[0-3][0-7]{2}")

_WIRE_NAMES: Final = {
    Kind.BOOL: "bool_value",
    Kind.INT: "int_value",
    Kind.FLOAT: "float_value",
    Kind.TEXT: "text_value",
    Kind.BYTES: "bytes_value",
    Kind.NUMERIC: "numeric_value",
    Kind.DATE: "date_value",
    Kind.TIME: "time_value",
    Kind.TIMESTAMP: "timestamp_value",
    Kind.TIMESTAMPTZ: "timestamp_value",
    Kind.INTERVAL: "interval_value",
    Kind.UUID: "uuid_value",
    Kind.JSON: "json_value",
    Kind.OTHER: "text_value",
    Kind.ARRAY: "array_value",
}
"""The field of `usher.v1.Value` that carries a kind, for remedies."""


class _Misfit(ValueError):
    """A value that its type cannot hold. The text says why, without the value."""


def bind(types: Sequence[PostgresType], parameters: Sequence[Parameter]) -> list[Any]:
    """The arguments for asyncpg, one for each of the statement's parameter `types`.

    Raises UsherError: PARAMETER_COUNT when there are more or fewer parameters than types, PARAMETER_TYPE for
    the first parameter that does not fit its type.
    """
    if len(types) != len(parameters):
        raise UsherError(
            Reason.PARAMETER_COUNT,
            f"the statement has {len(types)} parameters and {len(parameters)} were sent; "
            "send one value for each of $1, $2, ...",
            {"expected": str(len(types)), "actual": str(len(parameters))},
        )
    return [
        _argument(parameter, type_, f"parameters[{index}]", f"${index + 1}")
        for index, (parameter, type_) in enumerate(zip(parameters, types, strict=True))
    ]


def _argument(parameter: Parameter, type_: PostgresType, path: str, placeholder: str) -> Any:
    if parameter.kind is None:
        return None
    if type_.element is not None and parameter.kind is Kind.ARRAY:
        raw = [
            _argument(element, type_.element, f"{path}.array_value.elements[{index}]", placeholder)
            for index, element in enumerate(parameter.value)
        ]
        return format_array(raw, type_.element.delimiter) if type_.text_form else raw
    try:
        if type_.element is not None and parameter.kind is Kind.TEXT and not type_.text_form:
            return [
                None if text is None else _scalar(Parameter(Kind.TEXT, text), type_.element)
                for text in parse_array(parameter.value, type_.element.delimiter)
            ]
        return _scalar(parameter, type_)
    except ValueError as error:
        problem = str(error)
    # Outside of the except block, so that the error carries no other one with it.
    raise _does_not_fit(path, type_, problem, _remedy(parameter.kind, type_, placeholder))


def _scalar(parameter: Parameter, type_: PostgresType) -> Any:
    """The argument for one value. Raises ValueError, whose text never holds the value."""
    if parameter.kind is Kind.TEXT and type_.text_form and type_.kind is not Kind.NUMERIC:
        return _checked_text(parameter.value, type_)
    conversions = _CONVERSIONS.get(type_.kind, {})
    convert = conversions.get(parameter.kind) if parameter.kind else None
    if convert is None:
        raise _Misfit(f"{_WIRE_NAMES[parameter.kind] if parameter.kind else 'it'} does not fit this type")
    return _ENCODERS[type_.kind](convert(parameter.value), type_)


def _as_it_is(value: Any) -> Any:
    return value


_CONVERSIONS: Final[dict[Kind, dict[Kind, Callable[[Any], Any]]]] = {
    Kind.BOOL: {Kind.BOOL: _as_it_is, Kind.TEXT: text_forms.parse_bool},
    Kind.INT: {Kind.INT: _as_it_is, Kind.NUMERIC: text_forms.parse_int, Kind.TEXT: text_forms.parse_int},
    Kind.FLOAT: {
        Kind.FLOAT: _as_it_is,
        Kind.INT: _as_it_is,
        Kind.NUMERIC: text_forms.parse_float,
        Kind.TEXT: text_forms.parse_float,
    },
    Kind.TEXT: {Kind.TEXT: _as_it_is, Kind.JSON: _as_it_is},
    Kind.BYTES: {Kind.BYTES: _as_it_is, Kind.TEXT: text_forms.parse_bytes},
    Kind.NUMERIC: {
        Kind.NUMERIC: text_forms.parse_numeric,
        Kind.INT: str,
        Kind.TEXT: text_forms.parse_numeric,
    },
    Kind.DATE: {Kind.DATE: _as_it_is, Kind.TEXT: text_forms.parse_date},
    Kind.TIME: {Kind.TIME: _as_it_is, Kind.TEXT: text_forms.parse_time},
    Kind.TIMESTAMP: {Kind.TIMESTAMP: _as_it_is, Kind.TEXT: text_forms.parse_timestamp},
    Kind.TIMESTAMPTZ: {
        Kind.TIMESTAMP: _as_it_is,
        Kind.TIMESTAMPTZ: _as_it_is,
        Kind.TEXT: text_forms.parse_timestamptz,
    },
    Kind.INTERVAL: {Kind.INTERVAL: _as_it_is, Kind.TEXT: text_forms.parse_interval},
    Kind.UUID: {Kind.UUID: _as_it_is, Kind.TEXT: text_forms.parse_uuid},
    Kind.JSON: {Kind.JSON: _as_it_is, Kind.TEXT: _as_it_is},
    Kind.OTHER: {},
}
"""By the type's kind, then by the parameter's: how to get the canonical value. What is absent is refused.

A NUMERIC parameter is as good as text for a number. A FLOAT fits neither whole numbers nor numeric: which
decimal was meant is the caller's to say.
"""


def _encode_int(value: int, type_: PostgresType) -> int:
    low, high = _INT_RANGES[type_.name]
    if not low <= value <= high:
        raise _Misfit(f"it is out of range; {type_.name} reaches from {low} to {high}")
    return value


def _encode_float(value: float, type_: PostgresType) -> float:
    if type_.name == "float8":
        as_float = float(value)
    else:
        try:
            as_float = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            as_float = math.inf
        if (math.isinf(as_float) and not math.isinf(value)) or (as_float == 0 and value != 0):
            raise _Misfit("it is out of range; float4 reaches from about 1e-45 to about 3.4e38")
    if isinstance(value, int) and as_float != value:
        raise _Misfit(f"{type_.name} cannot hold this whole number exactly")
    return as_float


def _encode_date(days: int, type_: PostgresType) -> int:
    if days in (DATE_INFINITY, DATE_MINUS_INFINITY):
        return days
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise _Misfit("it is out of range; date reaches from 4714-11-24 BC to 5874897-12-31")
    return days - EPOCH_DAYS


def _encode_time(micros: int, type_: PostgresType) -> int:
    if not 0 <= micros <= _DAY_MICROS:
        raise _Misfit("it is out of range; time reaches from 0 to 86400000000 microseconds")
    return micros


def _encode_timestamp(moment: tuple[int, int], type_: PostgresType) -> int:
    seconds, micros = moment
    if seconds == SECONDS_INFINITY:
        return MICROS_INFINITY
    if seconds == SECONDS_MINUS_INFINITY:
        return MICROS_MINUS_INFINITY
    if not 0 <= micros < MICROS:
        raise _Misfit("its micros must lie between 0 and 999999")
    encoded = (seconds - EPOCH_SECONDS) * MICROS + micros
    if not _FIRST_MICRO <= encoded <= _LAST_MICRO:
        raise _Misfit(f"it is out of range; {type_.name} reaches from 4714-11-24 BC to 294276-12-31")
    return encoded


def _encode_interval(parts: tuple[int, int, int], type_: PostgresType) -> tuple[int, int, int]:
    months, days, micros = parts
    if not (-(2**31) <= months < 2**31 and -(2**31) <= days < 2**31 and -(2**63) <= micros < 2**63):
        raise _Misfit("it is out of range; months and days have 32 bits, microseconds 64")
    return parts


def _encode_uuid(octets: bytes, type_: PostgresType) -> bytes:
    if len(octets) != 16:
        raise _Misfit("it must have 16 bytes")
    return octets


def _encode_as_it_is(value: Any, type_: PostgresType) -> Any:
    return value


def _checked_text(text: str, type_: PostgresType) -> str:
    if "\0" in text:
        raise _Misfit("it contains the character U+0000, which Postgres cannot store")
    if type_.name == '"char"' and not _CHAR.fullmatch(text):
        # Postgres would keep the first byte and drop the rest.
        raise _Misfit(r"it must be empty, one ASCII character, or a byte such as \351")
    return text


_ENCODERS: Final[dict[Kind, Callable[[Any, PostgresType], Any]]] = {
    Kind.BOOL: _encode_as_it_is,
    Kind.INT: _encode_int,
    Kind.FLOAT: _encode_float,
    Kind.TEXT: _checked_text,
    Kind.BYTES: _encode_as_it_is,
    Kind.NUMERIC: _encode_as_it_is,
    Kind.DATE: _encode_date,
    Kind.TIME: _encode_time,
    Kind.TIMESTAMP: _encode_timestamp,
    Kind.TIMESTAMPTZ: _encode_timestamp,
    Kind.INTERVAL: _encode_interval,
    Kind.UUID: _encode_uuid,
    Kind.JSON: _checked_text,
}
"""By the type's kind: from the canonical value to what asyncpg takes, with the range checked."""


def _remedy(kind: Kind, type_: PostgresType, placeholder: str) -> str:
    if kind is Kind.TEXT:
        return f"write {placeholder}::text::{type_.name} to have Postgres read other forms"
    if kind is Kind.ARRAY and type_.element is None:
        return f"send {_WIRE_NAMES[type_.kind]}, or text_value in the type's text form"
    return f"send a {_WIRE_NAMES[type_.kind]} that fits, or text_value in the type's text form"


def _does_not_fit(path: str, type_: PostgresType, problem: str, remedy: str) -> UsherError:
    description = f"does not fit type {type_.name}: {problem}; {remedy}"
    return UsherError(
        Reason.PARAMETER_TYPE,
        f"{path}: {description}",
        {"field": path, "type": type_.name},
        (FieldViolation(path, description),),
    )
