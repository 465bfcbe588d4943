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
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

import asyncpg

from sidecar.postgres.wire import SYNC, Step, cells

T = TypeVar("T")

_HEADER = 5
"""Bytes before a message's body: its kind, and its length without the kind."""
_TO_ASYNCPG = frozenset(b"SNA")
"""ParameterStatus, NoticeResponse, NotificationResponse: may come at any time."""


class Part(enum.Enum):
    """Whose answers are due."""

    BEFORE = enum.auto()
    """Of the steps before."""
    DESCRIPTION = enum.auto()
    """Of the statement's Parse and Describe."""
    CALL = enum.auto()
    AFTER = enum.auto()
    DONE = enum.auto()


class Exchange:
    """What goes before and after one call of asyncpg's, and what Postgres answered to it.

    `description` is Parse and Describe of the statement that the call binds (wire.describe).
    """

    def __init__(
        self, before: Sequence[Step] = (), *, description: bytes = b"", after: Sequence[Step] = ()
    ) -> None:
        self._before, self._after = tuple(before), tuple(after)
        self._description = description
        self._part = Part.BEFORE
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
        return self._part is Part.DONE or (self._part is Part.CALL and not self._after)

    def is_ours(self, kind: int) -> bool:
        """Whether the next message is to be taken out."""
        if kind in _TO_ASYNCPG:
            return False
        if kind == b"E"[0]:
            # asyncpg would report the last error; the first is the cause.
            return self.failed is not None
        if kind == b"Z"[0]:
            return self._part is not Part.AFTER and bool(self._after)
        return self._part is not Part.CALL

    def passes(self, kind: int) -> None:
        """A message goes to asyncpg."""
        if kind == b"E"[0]:
            self.failed = self._part
            if self._part is not Part.AFTER:
                self._part = Part.CALL
        elif kind == b"Z"[0]:
            self._part = Part.DONE

    def take(self, kind: int, body: bytes) -> None:
        """A message was taken out."""
        if kind == b"D"[0]:
            self._row = cells(body)
        elif kind == b"C"[0]:
            self.rows.append(self._row)
            self._row = ()
            self._next_part()
        elif kind in b"tTn" and self._part is Part.DESCRIPTION:
            self.described += body
            if kind != b"t"[0]:
                self._part = Part.CALL
        elif kind == b"Z"[0]:
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
        self._exchange = None if exchange.over else exchange
        return await _started(call, lambda: self._transport.write(exchange.last), self._give_up)

    async def finish(self, exchange: Exchange) -> None:
        """Runs what the exchange holds, in one round trip. Raises asyncpg's errors."""
        # Closing a portal that is not there does no more than end the exchange.
        await self.run(exchange, self._driver.close_portal("usher_none", None))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        exchange = self._exchange
        if exchange is None:
            self._driver.data_received(data)
            return
        data = self._kept + data if self._kept else data
        self._kept = b""
        start = 0  # of what goes to asyncpg
        at = min(self._passing, len(data))
        self._passing -= at
        while len(data) - at >= _HEADER and not exchange.over:
            kind = data[at]
            end = at + 1 + int.from_bytes(data[at + 1 : at + _HEADER], "big")
            if exchange.is_ours(kind):
                if end > len(data):
                    break
                exchange.take(kind, data[at + _HEADER : end])
                self._pass(data, start, at)
                start = at = end
            else:
                exchange.passes(kind)
                at = min(end, len(data))
                self._passing = end - at
        if exchange.over:
            self._exchange, self._passing = None, 0
            at = len(data)
        self._pass(data, start, at)
        self._kept = data[at:]

    def _pass(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._driver.data_received(data[start:end])

    def _give_up(self) -> None:
        """What was written has no end that Postgres would answer."""
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
