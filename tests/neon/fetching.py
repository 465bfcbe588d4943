"""How the double fetches a key set: time limits, retries and size, over a port that tests may fill."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from sidecar.core.clock import Clock
from tests.neon.key_set import MAX_SET_BYTES, BadSetError, SetKey, read_set

T = TypeVar("T")

AGENT: Final = "neon-proxy"
CONNECT_SECONDS: Final = 2.0
REQUEST_SECONDS: Final = 5.0
"""One attempt, from the connection to the last byte."""
RETRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a response, and its body as it comes in."""

    status: int
    body: AsyncIterator[bytes]
    length: int | None = None
    """The Content-Length, if it had one."""


class Fetch(Protocol):
    """One GET. The connection has CONNECT_SECONDS at most; no redirect is followed, nothing decompressed."""

    def __call__(self, url: str) -> AbstractAsyncContextManager[Answer]:
        """Raises OSError for a connection that could not be made or broke."""
        ...


class FetchFailedError(Exception):
    """No usable key set came."""


class KeySetFetcher:
    """Fetches with retries. Tried again: 5xx, 408, 429, and what fails before any head is in."""

    def __init__(self, fetch: Fetch, clock: Clock, chance: random.Random) -> None:
        self._fetch = fetch
        self._clock = clock
        self._chance = chance

    async def keys(self, url: str) -> tuple[SetKey, ...]:
        """The usable keys. Raises FetchFailedError, after 27 s at worst."""
        for attempt in range(RETRIES + 1):
            if attempt:
                await self._clock.sleep(self._chance.random() * 2 ** (attempt - 1))
            once = _Attempt(self._fetch, url)
            try:
                return await within(self._clock, REQUEST_SECONDS, once.keys())
            except _TryAgain as error:
                reason = str(error)
            except (TimeoutError, OSError) as error:
                reason = repr(error)
                if once.head_came:
                    break
            except BadSetError as error:
                reason = str(error)
                break
        raise FetchFailedError(reason)


class _TryAgain(Exception):
    """A status that is worth another attempt."""


class _Attempt:
    def __init__(self, fetch: Fetch, url: str) -> None:
        self._fetch = fetch
        self._url = url
        self.head_came = False

    async def keys(self) -> tuple[SetKey, ...]:
        async with self._fetch(self._url) as answer:
            if answer.status >= 500 or answer.status in (408, 429):
                raise _TryAgain(str(answer.status))
            self.head_came = True
            # A redirect is not followed and no error either: its body is read.
            if answer.status >= 400:
                raise BadSetError(str(answer.status))
            if answer.length is not None and answer.length > MAX_SET_BYTES:
                raise BadSetError("the document is too large")
            document = bytearray()
            async for part in answer.body:
                document += part
                if len(document) > MAX_SET_BYTES:
                    raise BadSetError("the document is too large")
            return read_set(bytes(document))


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, or TimeoutError after `seconds` by the clock."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise TimeoutError
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[Answer]:
    """A real GET on a connection of its own, for the system's clock."""
    timeout = ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        async with (
            ClientSession(
                connector=TCPConnector(force_close=True), timeout=timeout, auto_decompress=False
            ) as session,
            session.get(url, headers={"User-Agent": AGENT}, allow_redirects=False) as response,
        ):
            yield Answer(response.status, response.content.iter_any(), response.content_length)
    except ClientError as error:
        raise OSError(repr(error)) from None
