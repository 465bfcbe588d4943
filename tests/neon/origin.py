"""A server of key sets inside the process, for a clock that moves in jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sidecar.core.clock import Clock
from tests.neon.fetching import CONNECT_SECONDS, Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. Times in seconds."""

    body: bytes = b""
    status: int = 200
    before_head: float = 0.0
    before_body: float = 0.0
    """The body is the one of the moment of the head, however late it comes."""
    length: int | None = None
    broken: bool = False
    """The connection ends in the middle of the body."""


class Refused(OSError):
    """Nobody listens."""


class Lost(OSError):
    """No word comes back; given up after the time for a connection."""


class Origin:
    """A `Fetch` whose answers are made by a function of the URL; it may raise Refused or Lost."""

    def __init__(self, clock: Clock, reply: Callable[[str], Reply]) -> None:
        self._clock = clock
        self.reply = reply
        self.asked: list[float] = []
        """When, by the monotonic clock."""

    @asynccontextmanager
    async def __call__(self, url: str) -> AsyncIterator[Answer]:
        self.asked.append(self._clock.monotonic())
        try:
            reply = self.reply(url)
        except Lost:
            await self._clock.sleep(CONNECT_SECONDS)
            raise
        if reply.before_head:
            await self._clock.sleep(reply.before_head)
        yield Answer(reply.status, self._parts(reply), reply.length)

    async def _parts(self, reply: Reply) -> AsyncIterator[bytes]:
        half = len(reply.body) // 2
        yield reply.body[:half]
        if reply.before_body:
            await self._clock.sleep(reply.before_body)
        if reply.broken:
            raise ConnectionResetError
        yield reply.body[half:]
