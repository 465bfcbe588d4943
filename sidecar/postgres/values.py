"""Results: from asyncpg's records to the columns of a ResultSet, in the forms of `core.values`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import (
    DATE_INFINITY,
    DATE_MINUS_INFINITY,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
    Kind,
)
from sidecar.postgres.array_literals import NestedArrayError, parse_array
from sidecar.postgres.builtin_types import PostgresType
from sidecar.postgres.codecs import Prepared

# Postgres counts from 2000-01-01, callers count from 1970-01-01.
EPOCH_DAYS: Final = 10_957
EPOCH_SECONDS: Final = EPOCH_DAYS * 86_400

MICROS: Final = 1_000_000
MICROS_INFINITY: Final = 2**63 - 1
MICROS_MINUS_INFINITY: Final = -(2**63)

_INFINITE_TIMESTAMPS: Final = {
    MICROS_INFINITY: (SECONDS_INFINITY, 0),
    MICROS_MINUS_INFINITY: (SECONDS_MINUS_INFINITY, 0),
}


def columnar(prepared: Prepared, records: Sequence[asyncpg.Record]) -> tuple[Sequence[Any], ...]:
    """The records as one sequence a column, in the Python forms of `core.values`.

    Arrays keep their elements and lose a lower bound other than 1. Raises UsherError with DATA_EXCEPTION for
    an array of more than one dimension.
    """
    if not records:
        return tuple(() for _ in prepared.columns)
    data: list[Sequence[Any]] = []
    for column, type_, values in zip(
        prepared.columns, prepared.column_types, zip(*records, strict=True), strict=True
    ):
        try:
            data.append(_canonical(type_, values))
        except NestedArrayError:
            raise nested_array(column.name) from None
    return tuple(data)


def nested_array(column: str) -> UsherError:
    """The error for a column that holds an array of more than one dimension."""
    return UsherError(
        Reason.DATA_EXCEPTION,
        f"column {column!r} holds an array of more than one dimension, which cannot travel; "
        "write to_json(...) or cast it to text",
        {"column": column},
    )


def _canonical(type_: PostgresType, values: Sequence[Any]) -> Sequence[Any]:
    if type_.element is not None:
        return _arrays(type_, type_.element, values)
    convert = _CONVERSIONS.get(type_.kind)
    return values if convert is None else convert(values)


def _dates(values: Sequence[int | None]) -> list[int | None]:
    return [
        days if days is None or days in (DATE_INFINITY, DATE_MINUS_INFINITY) else days + EPOCH_DAYS
        for days in values
    ]


def _timestamps(values: Sequence[int | None]) -> list[tuple[int, int] | None]:
    return [
        None
        if micros is None
        else (micros // MICROS + EPOCH_SECONDS, micros % MICROS)
        if MICROS_MINUS_INFINITY < micros < MICROS_INFINITY
        else _INFINITE_TIMESTAMPS[micros]
        for micros in values
    ]


_CONVERSIONS: Final[dict[Kind, Callable[[Sequence[Any]], Sequence[Any]]]] = {
    Kind.DATE: _dates,
    Kind.TIMESTAMP: _timestamps,
    Kind.TIMESTAMPTZ: _timestamps,
}


def _arrays(type_: PostgresType, element: PostgresType, values: Sequence[Any]) -> Sequence[Any]:
    if type_.text_form:
        return [None if text is None else parse_array(text, element.delimiter) for text in values]
    for array in values:
        if array and type(array[0]) is list:
            raise NestedArrayError("it has more than one dimension")
    convert = _CONVERSIONS.get(element.kind)
    if convert is None:
        return values
    return [None if array is None else convert(array) for array in values]
