"""JSON of Neon's `POST /sql`, both ways: parameters to Postgres' text, Postgres' text to JSON.

What is written is JSON text, not Python values: json and jsonb pass through as Postgres prints them, and an
object may name a column twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sidecar.postgres.builtin_types import BUILTIN_TYPES

FIRST_USER_OID = 16384
UNKNOWN_OID = 705
"""What Neon's client of Postgres calls every type that Postgres does not bring along."""

_BOOL, _INT2, _INT4, _FLOAT4, _FLOAT8, _JSON, _JSONB = 16, 21, 23, 700, 701, 114, 3802


class ConversionError(Exception):
    """Postgres' text is not what its type promises."""


def dumps(value: Any) -> str:
    """Compact JSON, other letters than ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parameter(value: Any) -> str | None:
    """A parameter of a request, as text for Postgres."""
    if value is None or isinstance(value, str):
        return value
    return _array(value) if isinstance(value, list) else dumps(value)


def _array(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ",".join(_array(element) for element in value) + "}"
    if value is None:
        return "NULL"
    return dumps(dumps(value)) if isinstance(value, Mapping) else dumps(value)


def known_oid(oid: int) -> int:
    """The type's OID as Neon tells it."""
    return oid if oid < FIRST_USER_OID else UNKNOWN_OID


def value(text: str, oid: int) -> str:
    """A value as JSON, without raw text output. Raises ConversionError."""
    known = BUILTIN_TYPES.get(oid)
    if known is not None and known.element is not None:
        body = text.partition("=")[2] if text.startswith("[") else text
        written, rest = _items(body.lstrip(), known.element.oid)
        if rest.strip():
            raise ConversionError("something follows an array")
        return written
    if oid == _BOOL:
        return "true" if text == "t" else "false"
    if oid in (_INT2, _INT4):
        return str(int(text))
    if oid in (_FLOAT4, _FLOAT8):
        number = float(text)
        return repr(number) if math.isfinite(number) else dumps(text)
    if oid in (_JSON, _JSONB):
        return text
    return dumps(text)


def _items(text: str, element: int) -> tuple[str, str]:
    """The array that begins here, and the text behind it. Elements are parted by commas, boxes too."""
    if not text.startswith("{"):
        raise ConversionError("no array begins here")
    written: list[str] = []
    rest = text[1:].lstrip()
    while True:
        if rest.startswith("}") and not written:
            return "[]", rest[1:]
        item, rest = _item(rest, element)
        written.append(item)
        if rest.startswith("}"):
            return "[" + ",".join(written) + "]", rest[1:]
        if not rest.startswith(","):
            raise ConversionError("an array does not end")
        rest = rest[1:].lstrip()


def _item(text: str, element: int) -> tuple[str, str]:
    if text.startswith("{"):
        return _items(text, element)
    if not text.startswith('"'):
        end = min((at for mark in ",}" if (at := text.find(mark)) >= 0), default=-1)
        if end < 0:
            raise ConversionError("an array does not end")
        bare = text[:end].rstrip()
        return ("null" if bare == "NULL" else value(bare, element)), text[end:]
    found, at = [], 1
    while text[at : at + 1] != '"':
        at += text[at : at + 1] == "\\"
        if at >= len(text):
            raise ConversionError("a quoted element does not end")
        found.append(text[at])
        at += 1
    return value("".join(found), element), text[at + 1 :].lstrip()
