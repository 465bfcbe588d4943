"""One round trip of several statements: what goes before and after one call of asyncpg's, and the answers.

relay.py puts it on the wire. Most answers are known beforehand, byte for byte; those are not read message by
message.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.postgres.wire import PARSED, SYNC, Step, cells, message

LENGTH: Final = struct.Struct("!i")
HEADER: Final = 5
"""Bytes before a message's body: its kind, and its length without the kind."""
ANY_TIME: Final = frozenset(b"SNA")
"""ParameterStatus, NoticeResponse, NotificationResponse: may come at any time, and are asyncpg's."""
ROW, SUSPENDED, COMPLETE, ERROR, READY = b"DsCEZ"
"""DataRow, PortalSuspended, CommandComplete, ErrorResponse, ReadyForQuery."""
_ALL: Final = 2**62
"""More bytes than any answer has."""


class Part(enum.Enum):
    """Whose answers are due."""

    BEFORE = enum.auto()
    """Of the steps before."""
    DESCRIPTION = enum.auto()
    """Of the statement's Parse and Describe."""
    CALL = enum.auto()
    AFTER = enum.auto()
    DONE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of a call's rows comes into memory, in bytes as Postgres sends them."""

    rows: int
    """Once so many have come the call is cut: it ends, and the next call begins with what is left. It is cut
    before an error as well, so that the rows before are not lost."""
    row: int
    """A larger row is not read at all; it costs the connection."""


class Exchange:
    """What goes before and after one call of asyncpg's, and what Postgres answered to it.

    `description` is Parse and Describe of the statement that the call binds (wire.describe), `described` what
    Postgres is known to answer to it. `budget` is for calls that execute a named portal, without anything
    after.
    """

    def __init__(
        self,
        before: Sequence[Step] = (),
        *,
        description: bytes = b"",
        described: bytes = b"",
        after: Sequence[Step] = (),
        budget: Budget | None = None,
    ) -> None:
        self._before, self._after = tuple(before), tuple(after)
        self._description = description
        self._usual = _usual(self._before, description, described)
        self._usually_described = described
        self.budget = budget
        """How much of the call's rows comes into memory; None: all of them."""
        self._part = Part.BEFORE
        self._ended = False
        self.over = False
        """Whether all that comes now is asyncpg's."""
        self.row_bytes = 0
        """Of the rows that went to asyncpg."""
        self.too_large = False
        """Whether a row was larger than the budget allows."""
        self.owed = 0
        """How many calls before this one were cut: so many answers come before its own."""
        self.rows: list[tuple[bytes | None, ...]] = []
        """The last row of each step that was completed; () when it had none."""
        self.described = b""
        """What Postgres said of the statement: ParameterDescription and RowDescription, or NoData."""
        self.failed: Part | None = None
        """Where the first error came."""
        self._row: tuple[bytes | None, ...] = ()
        self._next_part()

    @property
    def first(self) -> bytes:
        """What is written before the call's messages."""
        return b"".join(step.messages() for step in self._before) + self._description

    @property
    def last(self) -> bytes:
        """What is written after them."""
        return b"".join(step.messages() for step in self._after) + SYNC if self._after else b""

    def cut_before(self, kind: int) -> bool:
        """Whether the call is to end before the next message."""
        if self.budget is None or not self.row_bytes:
            return False
        return kind == ERROR or (kind == ROW and self.row_bytes > self.budget.rows)

    def after_usual(self, data: bytes, at: int) -> int:
        """Where the answers to the sidecar's steps end that begin at `at`, if they are as usual; else `at`.

        Compared byte for byte, once, where they begin. What is not as usual, or not here as a whole, is read
        by messages.
        """
        if not self._usual or at == len(data):
            return at
        usual, self._usual = self._usual, b""
        if not data.startswith(usual, at):
            return at
        steps = self._after if self._part is Part.AFTER else self._before
        self.rows += [step.usual.row for step in steps if step.usual is not None]
        if self._part is not Part.AFTER:
            self.described = self._usually_described
            self._to(Part.CALL)
        return at + len(usual)

    def after_rows(self, data: bytes, at: int) -> int:
        """Where whole rows end that go to asyncpg, from `at` on: most messages, in one quick loop."""
        if self._part is not Part.CALL:
            return at
        start, enough, largest = at, _ALL, _ALL
        if self.budget is not None:
            enough, largest = at + self.budget.rows - self.row_bytes, self.budget.row
        length = len(data)
        while at <= enough and length - at >= HEADER and data[at] == ROW:
            size = 1 + LENGTH.unpack_from(data, at + 1)[0]
            if at + size > length or size > largest:
                break
            at += size
        self.row_bytes += at - start
        return at

    def is_ours(self, kind: int) -> bool:
        """Whether the next message is to be taken out."""
        if kind in ANY_TIME:
            return False
        if kind == ERROR:
            # asyncpg would report the last error; the first is the cause.
            return self.failed is not None
        if self._part is Part.CALL and self.budget is not None:
            return self._is_owed(kind)
        if kind == READY:
            return self._part is not Part.AFTER and bool(self._after)
        return self._part is not Part.CALL

    def _is_owed(self, kind: int) -> bool:
        """Whether the message only ends the answer to a call that was cut, or follows the end of all rows."""
        return (kind in (SUSPENDED, READY) and self.owed > 0) or (kind == COMPLETE and self._ended)

    def passes(self, kind: int, size: int) -> None:
        """A message of so many bytes goes to asyncpg."""
        if kind == ROW:
            self.row_bytes += size
            self.too_large = self.budget is not None and size > self.budget.row
        elif kind == COMPLETE:
            self._ended = True
        elif kind == ERROR:
            self.failed = self._part
            if self._part is not Part.AFTER:
                self._to(Part.CALL)
        elif kind == READY:
            self._to(Part.DONE)

    def take(self, kind: int, body: bytes) -> None:
        """A message was taken out."""
        if kind == ROW:
            self._row = cells(body)
        elif self._part is Part.CALL and self.budget is not None:
            self.owed -= kind == READY
        elif kind == COMPLETE:
            self.rows.append(self._row)
            self._row = ()
            self._next_part()
        elif kind in b"tTn" and self._part is Part.DESCRIPTION:
            self.described += message(kind, body)
            if kind != b"t"[0]:
                self._to(Part.CALL)
        elif kind == READY:
            self._to(Part.AFTER)
            self._usual = _usual(self._after)

    def _next_part(self) -> None:
        if self._part is Part.BEFORE and len(self.rows) == len(self._before):
            self._to(Part.DESCRIPTION if self._description else Part.CALL)

    def _to(self, part: Part) -> None:
        self._part = part
        unwatched = not self._after and self.budget is None
        self.over = part is Part.DONE or (part is Part.CALL and unwatched)


def _usual(steps: Sequence[Step], description: bytes = b"", described: bytes = b"") -> bytes:
    """What Postgres answers to steps and a description; b"" where that is not known beforehand."""
    if description and not described:
        return b""
    answers = [step.usual.messages if step.usual is not None else b"" for step in steps]
    if not all(answers):
        return b""
    return b"".join(answers) + (PARSED + described if description else b"")
