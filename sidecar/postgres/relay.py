"""Several statements in one round trip: a relay between a socket and asyncpg, which sends one at a time.

asyncpg's own messages are put between messages of the sidecar's. All are written at once; the answers to the
sidecar's are taken out of the stream, and asyncpg sees the rest as if it had been alone:

    before                        asyncpg's call         after
    BEGIN, claims, [Describe]     Bind, Execute, Sync    steps, Sync
                            error: Postgres skips to here ^

asyncpg keeps what it is good at: connecting, TLS, encoding, decoding, cancelling. Why so:
docs/adr/0014-round-trips.md.
"""

from __future__ import annotations

import asyncio
import enum
import struct
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from sidecar.postgres.wire import SYNC, Step, cells

T = TypeVar("T")

_LENGTH = struct.Struct("!i")
_HEADER = 5
"""Bytes before a message's body: its kind, and its length without the kind."""
_TO_ASYNCPG = frozenset(b"SNA")
"""ParameterStatus, NoticeResponse, NotificationResponse: may come at any time."""
_ROW, _SUSPENDED, _COMPLETE, _ERROR, _READY = b"DsCEZ"
"""DataRow, PortalSuspended, CommandComplete, ErrorResponse, ReadyForQuery."""
_CUT = b"s\x00\x00\x00\x04Z\x00\x00\x00\x05T"
"""What asyncpg sees where a call is cut: the portal suspended, the transaction still there."""


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

    `description` is Parse and Describe of the statement that the call binds (wire.describe). `budget` is for
    calls that execute a named portal, without anything after.
    """

    def __init__(
        self,
        before: Sequence[Step] = (),
        *,
        description: bytes = b"",
        after: Sequence[Step] = (),
        budget: Budget | None = None,
    ) -> None:
        self._before, self._after = tuple(before), tuple(after)
        self._description = description
        self.budget = budget
        """How much of the call's rows comes into memory; None: all of them."""
        self._part = Part.BEFORE
        self._ended = False
        self.row_bytes = 0
        """Of the rows that went to asyncpg."""
        self.too_large = False
        """Whether a row was larger than the budget allows."""
        self.owed = 0
        """How many calls before this one were cut: so many answers come before its own."""
        self.rows: list[tuple[bytes | None, ...]] = []
        """The last row of each step that was completed; () when it had none."""
        self.described = b""
        """What Postgres said of the statement: the bodies of ParameterDescription and RowDescription."""
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

    @property
    def over(self) -> bool:
        """Whether all that comes now is asyncpg's."""
        unwatched = not self._after and self.budget is None
        return self._part is Part.DONE or (self._part is Part.CALL and unwatched)

    def cut_before(self, kind: int) -> bool:
        """Whether the call is to end before the next message."""
        if self.budget is None or not self.row_bytes:
            return False
        return kind == _ERROR or (kind == _ROW and self.row_bytes > self.budget.rows)

    def after_rows(self, data: bytes, at: int) -> int:
        """Where whole rows end that go to asyncpg, from `at` on: most messages, in one quick loop."""
        if self._part is not Part.CALL or self.budget is None:
            return at
        start, enough = at, at + self.budget.rows - self.row_bytes
        while at <= enough and len(data) - at >= _HEADER and data[at] == _ROW:
            size = 1 + _LENGTH.unpack_from(data, at + 1)[0]
            if at + size > len(data) or size > self.budget.row:
                break
            at += size
        self.row_bytes += at - start
        return at

    def is_ours(self, kind: int) -> bool:
        """Whether the next message is to be taken out."""
        if kind in _TO_ASYNCPG:
            return False
        if kind == _ERROR:
            # asyncpg would report the last error; the first is the cause.
            return self.failed is not None
        if self._part is Part.CALL and self.budget is not None:
            return self._is_owed(kind)
        if kind == _READY:
            return self._part is not Part.AFTER and bool(self._after)
        return self._part is not Part.CALL

    def _is_owed(self, kind: int) -> bool:
        """Whether the message only ends the answer to a call that was cut, or follows the end of all rows."""
        return (kind in (_SUSPENDED, _READY) and self.owed > 0) or (kind == _COMPLETE and self._ended)

    def passes(self, kind: int, size: int) -> None:
        """A message of so many bytes goes to asyncpg."""
        if kind == _ROW:
            self.row_bytes += size
            self.too_large = self.budget is not None and size > self.budget.row
        elif kind == _COMPLETE:
            self._ended = True
        elif kind == _ERROR:
            self.failed = self._part
            if self._part is not Part.AFTER:
                self._part = Part.CALL
        elif kind == _READY:
            self._part = Part.DONE

    def take(self, kind: int, body: bytes) -> None:
        """A message was taken out."""
        if kind == _ROW:
            self._row = cells(body)
        elif self._part is Part.CALL and self.budget is not None:
            self.owed -= kind == _READY
        elif kind == _COMPLETE:
            self.rows.append(self._row)
            self._row = ()
            self._next_part()
        elif kind in b"tTn" and self._part is Part.DESCRIPTION:
            self.described += body
            if kind != b"t"[0]:
                self._part = Part.CALL
        elif kind == _READY:
            self._part = Part.AFTER

    def _next_part(self) -> None:
        if self._part is Part.BEFORE and len(self.rows) == len(self._before):
            self._part = Part.DESCRIPTION if self._description else Part.CALL


class Relay(asyncio.Protocol):
    """Stands between a connection's transport and asyncpg's protocol object, for the connection's life."""

    def __init__(self, driver: Any, transport: asyncio.Transport) -> None:
        """`driver` is asyncpg's protocol object, connected."""
        self._driver = driver
        self._transport = transport
        self._exchange: Exchange | None = None
        self._kept = b""
        """The beginning of a message that is not here as a whole."""
        self._passing = 0
        """How many bytes of asyncpg's present message are still to come."""
        self.owed = 0
        """How many calls were cut whose answers have not ended: then only who reads on may use it."""
        self.room: int | None = None
        """How many bytes may still come before the connection is given up; None: any number."""
        transport.set_protocol(self)

    async def run(self, exchange: Exchange, call: Coroutine[Any, Any, T]) -> T:
        """Awaits a call of asyncpg's, in one round trip with what the exchange holds.

        `call` must begin by sending one message of the extended protocol, and with `after` send no other.
        Raises what the call raises, also for an error before or after it.
        """
        if self._driver._is_cancelling() or self._driver.is_closed() or self._exchange is not None:
            call.close()
            raise asyncpg.InterfaceError("the connection is closed or busy")
        self._transport.write(exchange.first)
        exchange.owed = self.owed
        self._exchange = None if exchange.over else exchange

        def written() -> None:
            self._transport.write(exchange.last)
            if self.owed:
                self._go_on()

        return await _started(call, written, self._give_up)

    async def finish(self, exchange: Exchange) -> None:
        """Runs what the exchange holds, in one round trip. Raises asyncpg's errors."""
        # Closing a portal that is not there does no more than end the exchange.
        await self.run(exchange, self._driver.close_portal("usher_none", None))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.room is not None:
            self.room -= len(data)
            if self.room < 0:
                self._give_up()
                return
        exchange = self._exchange
        if exchange is None:
            if self.owed:  # a transport may have had more under way when it was paused
                self._kept += data
            else:
                self._driver.data_received(data)
            return
        data = self._kept + data if self._kept else data
        self._kept = b""
        start = 0  # of what goes to asyncpg
        at = min(self._passing, len(data))
        self._passing -= at
        watched = exchange.budget is not None
        while not exchange.over:
            if watched:
                at = exchange.after_rows(data, at)
            if len(data) - at < _HEADER:
                break
            kind = data[at]
            end = at + 1 + int.from_bytes(data[at + 1 : at + _HEADER], "big")
            if watched and exchange.cut_before(kind) and not self._driver._is_cancelling():
                self._cut(exchange, data[start:at], data[at:])
                return
            if exchange.is_ours(kind):
                if end > len(data):
                    break
                exchange.take(kind, data[at + _HEADER : end])
                self._pass(data, start, at)
                start = at = end
            else:
                exchange.passes(kind, end - at)
                if exchange.too_large:
                    self._give_up()
                    return
                at = min(end, len(data))
                self._passing = end - at
        if exchange.over:
            self._exchange, self._passing, self.owed = None, 0, exchange.owed
            at = len(data)
        self._pass(data, start, at)
        self._kept = data[at:]

    def _pass(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._driver.data_received(data[start:end])

    def _cut(self, exchange: Exchange, until: bytes, rest: bytes) -> None:
        """Ends asyncpg's call; Postgres waits, as nobody reads what it sends."""
        self._exchange, self._kept, self.owed = None, rest, exchange.owed + 1
        self._transport.pause_reading()
        self._driver.data_received(until + _CUT)

    def _go_on(self) -> None:
        """After a cut: what is here already, then what comes."""
        self._transport.resume_reading()
        self.data_received(b"")

    def _give_up(self) -> None:
        """What was written has no end that Postgres would answer, or none that is waited for."""
        self._exchange = None
        self._driver.abort()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._driver.resume_writing()

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        self._exchange = None
        return self._driver.eof_received()  # type: ignore[no-any-return]  # asyncpg carries no types

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._exchange = None
        self._driver.connection_lost(error)


@types.coroutine
def _started(
    call: Coroutine[Any, Any, T], then: Callable[[], None], give_up: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Awaits `call`, and calls `then` as soon as it waits: when it has written what it writes first.

    `give_up` is called when it ends before that.
    """
    try:
        waits_for = call.send(None)
    except BaseException:
        give_up()
        raise
    then()
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # the task's cancellation
                waits_for = call.throw(error)
            else:
                waits_for = call.send(sent)
    except StopIteration as returned:
        return returned.value  # type: ignore[no-any-return]
