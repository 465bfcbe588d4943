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
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg

from sidecar.core.coroutines import go_on
from sidecar.postgres.exchange import ANY_TIME, ERROR, HEADER, LENGTH, READY, ROW, Exchange
from sidecar.postgres.wire import cells, error_fields, query

T = TypeVar("T")
Row = tuple[bytes | None, ...]
"""The values of a row, as text."""

_IDLE = b"I"
"""ReadyForQuery's status outside of transactions."""
_CUT = b"s\x00\x00\x00\x04Z\x00\x00\x00\x05T"
"""What asyncpg sees where a call is cut: the portal suspended, the transaction still there."""


class Relay(asyncio.Protocol):
    """Stands between a connection's transport and asyncpg's protocol object, for the connection's life."""

    def __init__(self, driver: Any, transport: asyncio.Transport) -> None:
        """`driver` is asyncpg's protocol object, connected."""
        self._driver = driver
        self._transport = transport
        self._exchange: Exchange | None = None
        self._asked: asyncio.Future[Row] | None = None
        self._row = b""
        """The last one of what was asked for."""
        self._error: asyncpg.PostgresError | None = None
        self.at_rest = False
        """Whether the sidecar's own query was the last that ran: asyncpg has not seen that the transaction
        before has ended."""
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
        if self._is_engaged():
            call.close()
            raise asyncpg.InterfaceError("the connection is closed or busy")
        self._transport.write(exchange.first)
        exchange.owed = self.owed
        self._exchange = None if exchange.over else exchange

        try:
            waits_for = call.send(None)
        except BaseException:
            self._give_up()  # it ended before it had written what was announced
            raise
        self._transport.write(exchange.last)
        if self.owed:
            self._go_on()
        return await go_on(call, waits_for)

    async def finish(self, exchange: Exchange) -> None:
        """Runs what the exchange holds, in one round trip. Raises asyncpg's errors."""
        # Closing a portal that is not there does no more than end the exchange.
        await self.run(exchange, self._driver.close_portal("usher_none", None))

    def ask(self, sql: str) -> asyncio.Future[Row]:
        """Sends statements that need no parameters and end any transaction, past asyncpg.

        Gives the last row, or raises asyncpg's error for the first statement that fails. Raises
        asyncpg.InterfaceError at once when the connection is not free.
        """
        if self._is_engaged():
            raise asyncpg.InterfaceError("the connection is closed or busy")
        self._asked = asked = asyncio.get_running_loop().create_future()
        self._row, self._error = b"", None
        self._transport.write(query(sql))
        return asked

    def _is_engaged(self) -> bool:
        busy = self._exchange is not None or self._asked is not None
        return busy or self._driver._is_cancelling() or self._driver.is_closed()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._asked is not None:
            self._answered(self._kept + data if self._kept else data)
            return
        self.at_rest = False
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
            usual = exchange.after_usual(data, at)
            if usual > at:
                self._pass(data, start, at)
                start = at = usual
                continue
            at = exchange.after_rows(data, at)
            if len(data) - at < HEADER:
                break
            kind = data[at]
            end = at + 1 + int.from_bytes(data[at + 1 : at + HEADER], "big")
            if watched and exchange.cut_before(kind) and not self._driver._is_cancelling():
                self._cut(exchange, data[start:at], data[at:])
                return
            if exchange.is_ours(kind):
                if end > len(data):
                    break
                exchange.take(kind, data[at + HEADER : end])
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

    def _answered(self, data: bytes) -> None:
        """Reads what was asked for, up to its end."""
        at, length = 0, len(data)
        while length - at >= HEADER:
            kind = data[at]
            end = at + 1 + LENGTH.unpack_from(data, at + 1)[0]
            if end > length:
                break
            if kind == ROW:
                self._row = data[at + HEADER : end]
            elif kind == ERROR:
                self._error = asyncpg.PostgresError.new(error_fields(data[at + HEADER : end]))
            elif kind in ANY_TIME:
                self._driver.data_received(data[at:end])
            elif kind == READY:
                self._kept = b""
                self._end_of_answer(data[at + HEADER : end])
                if end < length:
                    self.data_received(data[end:])
                return
            at = end
        self._kept = data[at:]

    def _end_of_answer(self, status: bytes) -> None:
        asked, self._asked = self._asked, None
        self.at_rest = status == _IDLE
        if asked is None or asked.done():
            return
        if self._error is not None:
            asked.set_exception(self._error)
        elif not self.at_rest:
            asked.set_exception(asyncpg.InterfaceError("a transaction is still open"))
        else:
            asked.set_result(cells(self._row) if self._row else ())

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
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(asyncpg.ConnectionDoesNotExistError("the connection was closed"))
        self._driver.connection_lost(error)
