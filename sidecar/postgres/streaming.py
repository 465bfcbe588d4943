"""Streams: rows are taken off Postgres by a portal, in portions, while the caller takes those before.

Why so: docs/adr/0016-streams.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import Deliver, Statement
from sidecar.core.streams import CHUNK_BYTES
from sidecar.core.values import Rows, StreamEnd
from sidecar.postgres.codecs import Prepared
from sidecar.postgres.driver import FIRST_ROWS, Portion, TooLargeError, open_portal, read_on
from sidecar.postgres.entry import Entry, is_serializable
from sidecar.postgres.exchange import Budget
from sidecar.postgres.parameters import bind
from sidecar.postgres.scoped_backend import ScopedBackend
from sidecar.postgres.values import columnar

T = TypeVar("T")

WIRE_BYTES: Final = 512 * 1024
"""Most that a portion is meant to have on its way from Postgres, where small numbers are wider."""
CUT_BYTES: Final = 2 * WIRE_BYTES
"""Where a portion is cut whose rows are suddenly much larger than those before."""
_WIDER: Final = 4
"""A row so many times as large as the largest message cannot fit into one, and is not read."""


class StreamingBackend(ScopedBackend):
    """A ScopedBackend that streams."""

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        """See core.queries.Backend.stream."""
        async with self._pool.lease() as connection:
            started = self._pool.clock.monotonic()
            prepared, serializable, portion = await self._first(connection, scope, statement)
            await deliver(prepared.columns)
            pace, left = Pace(), statement.max_rows
            while len(portion.records) <= left and not portion.completed:
                left -= len(portion.records)
                if not connection.relay.owed:  # else Postgres is still at the one before
                    started = self._pool.clock.monotonic()
                rows = min(pace.rows, left + 1)
                reading = self._next(connection, prepared, rows, statement.timeout, started)
                async with _started(reading) as ahead:
                    pace.learn(portion, await _deliver(deliver, prepared, portion.records))
                    portion = await ahead
            last = portion.records[:left]
            await _deliver(deliver, prepared, last)
            sent = statement.max_rows - left + len(last)
            if serializable:
                await self._commit(connection, may_have_written=False)
            await deliver(
                StreamEnd(
                    row_count=sent if prepared.columns else 0,
                    truncated=len(portion.records) > left,
                    command_tag=f"{portion.command or 'SELECT'} {sent}",
                )
            )

    async def _first(
        self, connection: asyncpg.Connection[Any], scope: Scope, statement: Statement
    ) -> tuple[Prepared, bool, Portion]:
        """The statement, whether the end of its transaction may still be refused, and its first rows."""
        begin = functools.partial(self.entry, connection, scope, statement.timeout, read_only=True)

        async def enter(entry: Entry, _: set[str]) -> tuple[Prepared, bool]:
            prepared, entered = await self._prepare(connection, entry, statement.sql)
            return prepared, is_serializable(entry, entered)

        async def opened() -> tuple[Prepared, bool, Portion]:
            prepared, serializable = await self._answer(connection, begin, enter)
            arguments = bind(prepared.parameter_types, statement.parameters)
            # One row more than asked for tells whether there are more.
            wanted = min(FIRST_ROWS, statement.max_rows + 1)
            opening = open_portal(connection, prepared, arguments, wanted, self._budget())
            return prepared, serializable, await self._fitting(opening)

        return await self._in_time(opened(), statement.timeout)

    async def _next(
        self,
        connection: asyncpg.Connection[Any],
        prepared: Prepared,
        rows: int,
        seconds: float,
        started: float,
    ) -> Portion:
        """The rows behind, within their time, which Postgres began to count at `started`."""
        reading = self._fitting(read_on(connection, prepared, rows, self._budget()))
        return await self._in_time(reading, seconds, started)

    async def _fitting(self, reading: Coroutine[Any, Any, Portion]) -> Portion:
        try:
            return await reading
        except TooLargeError:
            limit = self._settings.max_result_bytes
            raise UsherError(
                Reason.RESULT_TOO_LARGE,
                f"a row has more than {limit} bytes, the limit; ask for fewer columns, or parts of them",
                {"limit": str(limit)},
            ) from None

    def _budget(self) -> Budget:
        return Budget(rows=CUT_BYTES, row=max(CUT_BYTES, _WIDER * self._settings.max_result_bytes))


class Pace:
    """How many rows the next portion has, so that a chunk has CHUNK_BYTES."""

    def __init__(self) -> None:
        self.rows = FIRST_ROWS
        """The number."""

    def learn(self, portion: Portion, size: int) -> None:
        """A portion has become so many bytes."""
        count = len(portion.records)
        if count:
            by_chunk = CHUNK_BYTES * count // max(size, count)
            by_wire = WIRE_BYTES * count // max(portion.wire_bytes, count)
            self.rows = max(1, min(by_chunk, by_wire))


async def _deliver(deliver: Deliver, prepared: Prepared, records: Sequence[asyncpg.Record]) -> int:
    """Has the rows delivered, if there are any with columns; how many bytes they became."""
    if not records or not prepared.columns:
        return 0
    data = columnar(prepared, records)
    return await deliver(Rows(columns=prepared.columns, data=data, row_count=len(records)))


@contextlib.asynccontextmanager
async def _started(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs `work` beside the block, which awaits it; cancelled, and ended, when the block fails before."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
