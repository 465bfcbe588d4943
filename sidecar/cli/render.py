"""Answers as text: messages and dictionaries as JSON; results as a table as psql draws it, JSON or CSV."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import usher
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

Rows = usher.Result | usher.SyncRowStream
"""Rows that are there, or that come while they are read; their columns are known."""
_INFINITE_DAYS: Final = (2**31 - 1, -(2**31))
_INFINITE_SECONDS: Final = (2**63 - 1, -(2**63))
_DAY: Final = 86_400


def json_text(content: Message | dict[str, Any]) -> str:
    """JSON for people. What a Struct loses is made good: 7 is not 7.0, and names have an order."""
    if isinstance(content, Struct):
        content = _tidy(MessageToDict(content))
    elif isinstance(content, Message):
        content = fields_of(content)
    return json.dumps(content, indent=2, ensure_ascii=False)


def fields_of(message: Message) -> dict[str, Any]:
    """The fields of a message by their names in the contract."""
    fields = MessageToDict(message, preserving_proto_field_name=True)
    return {name: _tidy(value) for name, value in fields.items()}


def token_fields(token: usher.Token | usher.Verified) -> dict[str, Any]:
    """The same of a token."""
    names = ("token", "subject", "kid", "alg", "jti", "issue_time", "expire_time", "claims")
    fields = {name: getattr(token, name) for name in names if getattr(token, name, "") != ""}
    for name in ("issue_time", "expire_time"):
        fields[name] = fields[name].isoformat().replace("+00:00", "Z")
    return fields | {"claims": _tidy(fields["claims"])}


def _tidy(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _tidy(value[name]) for name in sorted(value)}
    return [_tidy(item) for item in value] if isinstance(value, list) else value


def lines_of(result: Rows, output: str, *, terminal: bool) -> Iterator[str]:
    """The rows as JSON or CSV, line by line as they come.

    To a terminal CSV goes as a table does: what values hold must not steer it. Elsewhere exactly.
    """
    if output == "json":
        return (json.dumps(row, ensure_ascii=False) for row in objects_of(result))
    return map(printable, csv_lines(result)) if terminal else csv_lines(result)


def objects_of(result: Rows) -> Iterator[dict[str, Any]]:
    """The rows by the names of their columns, in JSON's types. What JSON lacks is text."""
    names = names_of(result.columns)
    return (dict(zip(names, map(_plain, row), strict=True)) for row in result)


def names_of(columns: Sequence[usher.Column]) -> list[str]:
    """The columns' names, each once: the second `id` is `id_2`."""
    names: list[str] = []
    for column in columns:
        name, count = column.name, 1
        while name in names:
            count += 1
            name = f"{column.name}_{count}"
        names.append(name)
    return names


def rows_of(result: usher.Result) -> list[list[Any]]:
    """The rows of a result in JSON's types; None for NULL. What JSON lacks is text."""
    return [[_plain(cell) for cell in row] for row in result]


def table(result: usher.Result) -> str:
    """The result as aligned columns."""
    names = [_shown(column.name) for column in result.columns]
    rows = [["" if cell is None else _shown(cell) for cell in row] for row in rows_of(result)]
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(names)]
    lines = [" | ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip()]
    lines.append("-+-".join("-" * width for width in widths))
    lines += [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def csv_lines(result: Rows) -> Iterator[str]:
    """The rows as CSV (RFC 4180) that COPY ... WITH (FORMAT csv, HEADER) reads back: NULL is nothing, an
    empty text is quoted."""
    if result.columns:
        yield ",".join(_quoted(column.name) for column in result.columns)
    for row in result:
        if row:  # a statement may return rows without columns
            yield ",".join("" if cell is None else _quoted(_postgres(cell)) for cell in row)


def _quoted(text: str) -> str:
    plain = text and text != "\\." and not any(char in text for char in ',"\r\n') and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'


def _postgres(value: Any) -> str:
    """A value as Postgres reads it, where that differs from what people are shown."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, list):
        return "{" + ",".join(_element(item) for item in value) + "}"
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(_plain(value))


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return _postgres(value)
    return '"' + _postgres(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "t" if cell else "f"
    if isinstance(cell, list):
        cell = json.dumps(cell, ensure_ascii=False)
    return printable(str(cell))


def printable(text: str) -> str:
    """The text with control characters written out: those of a value must not steer the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _plain(value: Any) -> Any:
    """A value of the client in JSON's types."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.datetime):
        zone = "+00" if value.tzinfo is not None else ""
        return value.replace(tzinfo=None).isoformat(" ") + zone
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return _far(value)


def _far(value: Any) -> str:
    """What Python's own types do not hold."""
    if isinstance(value, usher.FarDate):
        return _infinite(value.days, _INFINITE_DAYS) or "{}{}".format(*_far_day(value.days))
    if isinstance(value, usher.FarTimestamp):
        day, era = _far_day(value.seconds // _DAY)
        time = _clock(value.seconds % _DAY * 1_000_000 + value.micros)
        zone = "+00" if value.utc else ""
        return _infinite(value.seconds, _INFINITE_SECONDS) or f"{day} {time}{zone}{era}"
    if isinstance(value, usher.FarTime):
        return _clock(value.micros)
    if isinstance(value, usher.Interval):
        for at, name in enumerate(("infinity", "-infinity")):
            if value == usher.Interval(_INFINITE_DAYS[at], _INFINITE_DAYS[at], _INFINITE_SECONDS[at]):
                return name
        return f"{value.months} mons {value.days} days {_clock(value.micros)}"
    return str(value)  # a UUID


def _far_day(days: int) -> tuple[str, str]:
    """A date and its era as Postgres writes them: the calendar repeats every 400 years."""
    cycles, days = divmod(days, 146_097)
    date = datetime.date(1970, 1, 1) + datetime.timedelta(days=days)
    year = date.year + 400 * cycles
    return f"{year if year > 0 else 1 - year:04}-{date:%m-%d}", "" if year > 0 else " BC"


def _infinite(number: int, infinite: tuple[int, int]) -> str:
    return ("infinity" if number > 0 else "-infinity") if number in infinite else ""


def _clock(micros: int) -> str:
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    seconds, rest = divmod(micros, 1_000_000)
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:06}" if rest else text
