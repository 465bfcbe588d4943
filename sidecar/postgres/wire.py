"""Messages of Postgres' extended protocol, as far as the sidecar writes and reads them itself.

PostgreSQL documentation, "Message Formats". All statements here are unnamed: a named one would stay in the
session, where SQL can list it, drop it, or put another in its place.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SYNC: Final = b"S\x00\x00\x00\x04"
"""Ends what runs or fails as one: after an error Postgres skips all up to here."""
_EXECUTE: Final = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"
"""Of the unnamed portal, all rows."""
_DESCRIBE: Final = b"D\x00\x00\x00\x06S\x00"


PARSED: Final = b"1\x00\x00\x00\x04"
"""ParseComplete."""
_BOUND: Final = b"2\x00\x00\x00\x04"


@dataclass(frozen=True, slots=True)
class Answer:
    """What Postgres answers to a step: the messages, and the row that is in them."""

    messages: bytes
    row: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A statement of the sidecar's own. Parameters and results travel as text."""

    sql: str
    arguments: tuple[str, ...] = ()
    usual: Answer | None = None
    """What Postgres nearly always answers; another answer is as good, and only takes longer to read."""

    def messages(self) -> bytes:
        """Parse, Bind and Execute."""
        if not self.arguments:
            return _alone(self.sql)
        values = [argument.encode() for argument in self.arguments]
        return _parse_own(self.sql) + _bind(values) + _EXECUTE


def describe(sql: str, parameter_oids: Sequence[int]) -> bytes:
    """Parse and Describe of a statement whose parameters have these types.

    The types are named, so that a value which was encoded for one is never read as another, even when the
    schema has changed meanwhile.
    """
    return _parse(sql, parameter_oids) + _DESCRIBE


def answer(tag: str, *row: bytes) -> Answer:
    """The answer to a step that gives these values, if any, and ends with this command tag."""
    values = b"".join(struct.pack("!i", len(value)) + value for value in row)
    data = message(b"D"[0], struct.pack("!h", len(row)) + values) if row else b""
    return Answer(PARSED + _BOUND + data + message(b"C"[0], tag.encode() + b"\0"), row)


def query(sql: str) -> bytes:
    """A simple Query: statements that need no parameters, in one message."""
    return message(b"Q"[0], sql.encode() + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse's body, by their letters (documentation, "Error and Notice Message
    Fields")."""
    fields = [field for field in body.split(b"\0") if field]
    return {chr(field[0]): field[1:].decode("utf-8", "replace") for field in fields}


def cells(row: bytes) -> tuple[bytes | None, ...]:
    """The values of a DataRow's body."""
    found: list[bytes | None] = []
    at = 2
    for _ in range(int.from_bytes(row[:2], "big")):
        (length,) = struct.unpack_from("!i", row, at)
        at += 4
        found.append(None if length < 0 else row[at : at + length])
        at += max(length, 0)
    return tuple(found)


def _bind(values: Sequence[bytes]) -> bytes:
    bound = b"".join([struct.pack("!i", len(value)) + value for value in values])
    # No portal name, no statement name, no format codes: all text. Then the values; results as text.
    return message(b"B"[0], struct.pack("!xxhh", 0, len(values)) + bound + b"\0\0")


@functools.lru_cache(maxsize=64)  # the sidecar has few statements of its own, and sends them always
def _alone(sql: str) -> bytes:
    return _parse_own(sql) + _bind(()) + _EXECUTE


@functools.lru_cache(maxsize=64)
def _parse_own(sql: str) -> bytes:
    return _parse(sql, ())


def _parse(sql: str, parameter_oids: Sequence[int]) -> bytes:
    count = len(parameter_oids)
    return message(b"P"[0], b"\0" + sql.encode() + b"\0" + struct.pack(f"!H{count}I", count, *parameter_oids))


def message(kind: int, body: bytes) -> bytes:
    """A message of this kind."""
    return struct.pack("!Bi", kind, len(body) + 4) + body
