"""The deliberately naive executor: what services write that have never met an attack.

It sets claims and role for the session and resets nothing; it commits by itself, takes several statements at
once, and tells its caller everything that Postgres said. `scoped` False leaves out even claims and role:
nothing is protected then, which shows that a case can see the leak that it looks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from tests.attacks.corpus import CLAIMS, Step
from tests.attacks.targets import Outcome

WAIT_SECONDS = 60.0
_LIMIT = {"statement_timeout": "3500ms"}
"""Only so that the tests come to an end."""
_ENTER = """
SELECT set_config('request.jwt.claims', $1, false), set_config('role', 'authenticated', false),
       set_config('statement_timeout', $2, false)
"""


class Naive:
    """An executor with connections of its own, in a thread of its own."""

    def __init__(self, dsn: str, *, scoped: bool) -> None:
        self._dsn = dsn
        self._scoped = scoped
        self._idle: list[asyncpg.Connection[Any]] = []
        self._all: list[asyncpg.Connection[Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, step: Step) -> Callable[[], Outcome]:
        """See Target."""
        running = asyncio.run_coroutine_threadsafe(self._request(step), self._loop)
        return lambda: running.result(WAIT_SECONDS)

    def forget(self) -> None:
        """Closes the connections: what one case leaves behind must not decide another."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(WAIT_SECONDS)

    def memory(self, outcome: Outcome) -> int:
        """It holds the whole answer."""
        return len(outcome.text)

    def close(self) -> None:
        self.forget()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _request(self, step: Step) -> Outcome:
        started = time.monotonic()
        if not self._idle:
            self._all.append(await asyncpg.connect(self._dsn, server_settings=_LIMIT))
            self._idle.append(self._all[-1])
        connection = self._idle.pop()
        try:
            rows = await self._run(connection, step)
            return Outcome(rows=rows, seconds=time.monotonic() - started)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            text = f"{error} {getattr(error, 'detail', '')}"
            return Outcome(error=text, seconds=time.monotonic() - started)
        finally:
            self._idle.append(connection)

    async def _run(self, connection: asyncpg.Connection[Any], step: Step) -> tuple[tuple[str, ...], ...]:
        if self._scoped:
            timeout = str(int((step.timeout or 10) * 1000))
            await connection.fetch(_ENTER, json.dumps(CLAIMS[step.who]), timeout)
        read_only = step.read_only and self._scoped
        if read_only:
            await connection.execute("SET default_transaction_read_only = on")
        try:
            if step.sql.endswith(" TO STDOUT"):
                return await _copied(connection, step.sql)
            rows = await _together(connection, step)
        except asyncpg.PostgresSyntaxError as error:
            if "multiple commands" not in str(error):
                raise
            await connection.execute(step.sql)
            rows = []
        finally:
            if read_only:
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.execute("SET default_transaction_read_only = off")
        return tuple(tuple(str(cell) for cell in row) for row in rows)

    async def _close(self) -> None:
        for connection in self._all:
            connection.terminate()
        self._idle, self._all = [], []


async def _together(connection: asyncpg.Connection[Any], step: Step) -> list[asyncpg.Record]:
    """All rows of a step."""
    if not step.before:
        return await connection.fetch(step.sql, *step.params)  # type: ignore[no-any-return]
    await connection.execute("BEGIN")
    try:
        for sql in step.before:
            await connection.execute(sql)
        rows = await connection.fetch(step.sql, *step.params)
        await connection.execute("COMMIT")
        return rows  # type: ignore[no-any-return]
    finally:
        await connection.execute("ROLLBACK")


async def _copied(connection: asyncpg.Connection[Any], sql: str) -> tuple[tuple[str, ...], ...]:
    """The answer to COPY as one row; the driver's public call takes no text of the caller's."""
    output = io.BytesIO()
    await connection._copy_out(sql, output, WAIT_SECONDS)
    return ((output.getvalue().decode(),),)
