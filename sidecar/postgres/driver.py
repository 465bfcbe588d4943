"""Calls into asyncpg that are not public. asyncpg is pinned to one version for their sake.

asyncpg's public calls take either all rows, or some of them by a cursor and two round trips more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.postgres.codecs import Prepared
from sidecar.postgres.exchange import Budget, Exchange
from sidecar.postgres.relay import Relay
from sidecar.postgres.wire import Step, answer, describe

T = TypeVar("T")

_PORTAL: Final = "usher_result"
"""A portal with a name outlives other statements of its transaction; it ends with the transaction."""
CLOSE_RESULT: Final = Step(sql=f"CLOSE {_PORTAL}", usual=answer("CLOSE CURSOR"))
"""Makes room for the portal of a further statement."""
_SIZED: Final = frozenset((str, bytes))
_NUMBERS: Final = frozenset((bool, int, float))
FIRST_ROWS: Final = 128
"""Rows that are taken off Postgres before anything is known of their size."""
_WIRE_BYTES_OF_VALUE: Final = 16
"""What a small value, or a row, may have on its way from Postgres, however little it needs in a message."""
_WIDER: Final = 8
"""So many times as wide as in a message are other values at most: arrays of small numbers."""
_LEAST_ROOM: Final = 1024**2
"""A little too much is no reason to part with the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a statement gave: its first rows, and whether it ran to its end.

    `command` is the command tag without a count, such as "INSERT 0"; "" when the limit cut the run. `count`
    is the tag's count, None when it has none.
    """

    records: list[asyncpg.Record]
    completed: bool
    command: str
    count: int | None
    portions: int = 1
    """In how many the rows came; what the exchange told of the transaction is from after the first."""


class TooLargeError(Exception):
    """The rows taken so far have more bytes than they may, or more are on their way than could ever fit."""


def exchange_of(
    prepared: Prepared,
    before: Sequence[Step] = (),
    after: Sequence[Step] = (),
    budget: Budget | None = None,
    described: bytes = b"",
) -> Exchange:
    """What goes to Postgres with the execution of an unnamed statement, which is parsed anew for it.

    `described` is what Postgres answered to its description before.
    """
    description = describe(prepared.sql, prepared.parameter_oids)
    return Exchange(before, description=description, described=described, after=after, budget=budget)


async def execute_limited(
    connection: asyncpg.Connection[Any],
    prepared: Prepared,
    arguments: Sequence[Any],
    limit: int,
    max_bytes: int = 2**62,
    exchange: Exchange | None = None,
) -> Run:
    """Runs a prepared statement and takes at most `limit` rows off Postgres.

    One round trip for up to FIRST_ROWS rows, and with them what else is in the exchange (`exchange_of`). What
    is more comes in portions that the size of the rows so far decides, so that a result which is refused in
    the end does not fill the memory first; rows that are suddenly so large that they could not fit are not
    read at all, which costs the connection. Only in a transaction, and once, unless CLOSE_RESULT is run
    before the next. Raises TooLargeError and what asyncpg raises.
    """
    state = prepared.statement._state
    records: list[asyncpg.Record] = []
    portion = min(limit, FIRST_ROWS)
    call = connection._protocol.bind_execute(state, arguments, _PORTAL, portion, True, None)
    call = connection.relay.run(exchange or exchange_of(prepared), call)
    (found, tag, completed), taken = await _within(connection, call, _room(prepared, portion, max_bytes))
    portions = 1
    while True:
        records += found or []
        # On their way from Postgres values have more bytes than they count here.
        if taken > max_bytes and size_of(records) > max_bytes:
            raise TooLargeError
        if completed or len(records) >= limit:
            break
        average = size_of(records) // len(records) + 1
        portion = min(limit - len(records), max(1, 2 * max_bytes // average))
        call = connection._protocol.execute(state, _PORTAL, portion, True, None)
        room = _room(prepared, portion, max_bytes)
        (found, tag, completed), more = await _within(connection, call, room)
        taken += more
        portions += 1
    command, count = _split(tag)
    if count is not None:
        count += len(records) - len(found or [])  # a tag counts the rows of its own portion
    return Run(
        records=records,
        completed=bool(completed),
        command=command,
        count=count,
        portions=portions,
    )


def _room(prepared: Prepared, rows: int, max_bytes: int) -> int:
    """More bytes than so many rows can have on their way whose message is not too large."""
    small = rows * (len(prepared.columns) + 1) * _WIRE_BYTES_OF_VALUE
    return max(_WIDER * max_bytes, _LEAST_ROOM) + small


async def _within(
    connection: asyncpg.Connection[Any], call: Coroutine[Any, Any, T], room: int
) -> tuple[T, int]:
    """Awaits a call whose answer may have so many bytes, and tells how many it had.

    Raises TooLargeError, and what the call raises.
    """
    relay: Relay = connection.relay
    relay.room = room
    try:
        answer = await call
        return answer, room - relay.room
    except asyncpg.PostgresConnectionError:
        if (relay.room or 0) < 0:
            raise TooLargeError from None
        raise
    finally:
        relay.room = None


def size_of(table: Iterable[Iterable[Any]]) -> int:
    """The least that the values of rows, or of columns, need in a message, in bytes."""
    return sum(
        len(value) if type(value) in _SIZED else _size_of_array(value) if type(value) is list else 1
        for values in table
        for value in values
    )


def _size_of_array(array: list[Any]) -> int:
    # Numbers are many at times, and have a byte each.
    return len(array) if array and type(array[0]) in _NUMBERS else size_of((array,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Some rows of a portal. `wire_bytes` is what they had on their way from Postgres; `completed` says that
    there are no more, `command` the command tag without its count, "" before."""

    records: list[asyncpg.Record]
    wire_bytes: int
    completed: bool
    command: str


async def open_portal(
    connection: asyncpg.Connection[Any],
    prepared: Prepared,
    arguments: Sequence[Any],
    rows: int,
    budget: Budget,
) -> Portion:
    """Runs a prepared statement up to so many rows, or to where the budget cuts it.

    One round trip. Once in a transaction, and only in one. Raises TooLargeError for a row that is larger than
    the budget allows, after which the connection is closed, and what asyncpg raises.
    """
    state = prepared.statement._state
    call = connection._protocol.bind_execute(state, arguments, _PORTAL, rows, True, None)
    return await _portion(connection, call, exchange_of(prepared, budget=budget))


async def read_on(
    connection: asyncpg.Connection[Any], prepared: Prepared, rows: int, budget: Budget
) -> Portion:
    """As open_portal: the rows behind those that were read last. After a cut these are at least as many as
    were asked for before, as far as the budget goes."""
    rows = 1 if connection.relay.owed else rows
    call = connection._protocol.execute(prepared.statement._state, _PORTAL, rows, True, None)
    return await _portion(connection, call, Exchange(budget=budget))


async def _portion(
    connection: asyncpg.Connection[Any], call: Coroutine[Any, Any, Any], exchange: Exchange
) -> Portion:
    try:
        found, tag, completed = await connection.relay.run(exchange, call)
    except asyncpg.PostgresConnectionError:
        if exchange.too_large:
            raise TooLargeError from None
        raise
    return Portion(
        records=found or [],
        wire_bytes=exchange.row_bytes,
        completed=bool(completed),
        command=_split(tag)[0],
    )


async def abandon(connection: asyncpg.Connection[Any]) -> None:
    """Cancels what runs in Postgres for a call that was cut. Raises OSError when that cannot be told."""
    await connection._cancel(asyncio.get_running_loop().create_future())


async def run_to_end(
    connection: asyncpg.Connection[Any],
    prepared: Prepared,
    run: Run,
) -> Run:
    """The run of a statement that the limit cut, led to its end; further rows stay in Postgres.

    Needed for writes, which Postgres does in full in any case, but counts only here. Two round trips.
    Raises what asyncpg raises.
    """
    state = prepared.statement._state
    _, skipped = _split((await connection.execute(f"MOVE FORWARD ALL IN {_PORTAL}")).encode())
    # Nothing is left to give but the command tag, which counts the rows of this last call alone.
    _, tag, completed = await connection._protocol.execute(state, _PORTAL, 0, True, None)
    command, count = _split(tag)
    return Run(
        records=run.records,
        completed=bool(completed),
        command=command,
        count=len(run.records) + (skipped or 0) + (count or 0),
    )


def _split(tag: bytes | None) -> tuple[str, int | None]:
    """A command tag and its count: "INSERT 0 5" is ("INSERT 0", 5)."""
    text = (tag or b"").decode()
    command, _, last = text.rpartition(" ")
    return (command, int(last)) if last.isdigit() else (text, None)
