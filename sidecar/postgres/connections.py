"""The connections that are open: lent, or lying on a stack, where those that nobody needs grow old.

asyncpg's own pool puts a proxy around each connection, and three tasks and timers around each loan.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from sidecar.core.clock import Clock

IDLE_SECONDS: Final = 300.0
"""After so long a connection that nobody needs is closed, but for the least number."""
LIFE_SECONDS: Final = 3600.0
"""After so long one is replaced: a session keeps memory, and what a host name meant when it was opened."""
_JITTER: Final = 0.2
"""Of the life: those that were opened together do not end together."""

Open = Callable[[], Awaitable["asyncpg.Connection[Any]"]]


@dataclass(slots=True)
class _State:
    """Of one connection. Moments are of the clock's monotonic()."""

    generation: int
    ends: float
    idle_since: float = 0.0


class Connections:
    """Opens connections when they are taken and none is idle. How many there may be is the taker's to see to.

    `least`: so many are kept open.
    """

    def __init__(self, open_one: Open, least: int, clock: Clock) -> None:
        self._open_one = open_one
        self._least = least
        self._clock = clock
        self._states: dict[asyncpg.Connection[Any], _State] = {}
        self._idle: list[asyncpg.Connection[Any]] = []
        self._generation = 0
        self._closing = False
        self._none_lent = asyncio.Event()
        self._none_lent.set()

    @property
    def size(self) -> int:
        """How many are open."""
        return len(self._states)

    @property
    def lent(self) -> int:
        """How many are lent."""
        return len(self._states) - len(self._idle)

    async def take(self) -> asyncpg.Connection[Any]:
        """The connection that was used last, or a new one. Raises what opening raises."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                self._none_lent.clear()
                return connection
            self._forget(connection)
        return await self.open()

    def keep(self, connection: asyncpg.Connection[Any]) -> bool:
        """Takes back a connection that is clean; false when it is to be closed (`retire`)."""
        state, now = self._states[connection], self._clock.monotonic()
        outdated = state.generation != self._generation or now >= state.ends
        if self._closing or outdated or connection.is_closed():
            return False
        state.idle_since = now
        self._idle.append(connection)
        self._tell()
        return True

    async def retire(self, connection: asyncpg.Connection[Any]) -> None:
        """Closes one that was lent."""
        try:
            await connection.close()
        finally:
            self._forget(connection)

    def drop(self, connection: asyncpg.Connection[Any]) -> None:
        """Takes back one that may not be used any more."""
        connection.terminate()
        self._forget(connection)

    async def renew(self) -> None:
        """Closes all: those that are idle now, the others as they come back."""
        self._generation += 1
        idle, self._idle = self._idle, []
        await asyncio.gather(*(self.retire(connection) for connection in idle))

    async def tidy(self) -> None:
        """Closes what has been idle for long, or is at the end of its life, or has ended by itself."""
        now = self._clock.monotonic()
        for connection in [*self._idle]:
            if connection not in self._idle:
                continue  # lent while another one was closed, and perhaps gone by now
            state = self._states[connection]
            too_old = now - state.idle_since >= IDLE_SECONDS and self.size > self._least
            if too_old or now >= state.ends or connection.is_closed():
                self._idle.remove(connection)
                await self.retire(connection)

    @property
    def missing(self) -> int:
        """How many fewer are open than are kept."""
        return max(0, self._least - self.size)

    async def close(self) -> None:
        """Closes all, each as it comes back; those that are lent are dropped when this is cut short."""
        self._closing = True
        try:
            await self.renew()
            await self._none_lent.wait()
        finally:
            for connection in [*self._states]:
                self.drop(connection)

    async def open(self) -> asyncpg.Connection[Any]:
        """A new one. Raises what opening raises."""
        generation = self._generation
        connection = await self._open_one()
        if self._closing:
            connection.terminate()
            raise asyncpg.InterfaceError("the pool is closing")
        life = LIFE_SECONDS * random.uniform(1 - _JITTER, 1)  # noqa: S311 - no secret
        self._states[connection] = _State(generation, self._clock.monotonic() + life)
        self._none_lent.clear()
        return connection

    def _forget(self, connection: asyncpg.Connection[Any]) -> None:
        self._states.pop(connection, None)
        self._tell()

    def _tell(self) -> None:
        if self.lent == 0:
            self._none_lent.set()


class Lease:
    """A block's loan of a connection. A class, because a generator would cost every query more."""

    __slots__ = ("_connection", "_give_back", "_take")

    def __init__(
        self,
        take: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        give_back: Callable[[asyncpg.Connection[Any], bool], None],
    ) -> None:
        """`give_back` is told whether the block failed."""
        self._take = take
        self._give_back = give_back

    async def __aenter__(self) -> asyncpg.Connection[Any]:
        """Takes it."""
        self._connection = await self._take()
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Gives it back."""
        self._give_back(self._connection, kind is not None)
