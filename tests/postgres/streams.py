"""Streams of a backend, and who takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.errors import UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import Backend
from sidecar.core.values import Column, Rows, StreamEnd
from tests.postgres.scoped import statement

NO_LIMIT = 2**62


class Taken:
    """What was delivered. Chunks are said to have `row_bytes` bytes for each row."""

    def __init__(self, row_bytes: int = 20) -> None:
        self.columns: tuple[Column, ...] | None = None
        self.chunks: list[Rows] = []
        self.end: StreamEnd | None = None
        self._row_bytes = row_bytes

    async def deliver(self, part: tuple[Column, ...] | Rows | StreamEnd) -> int:
        assert self.end is None, "nothing comes after the end"
        if isinstance(part, Rows):
            assert self.columns == part.columns
            self.chunks.append(part)
            return self._row_bytes * part.row_count
        if isinstance(part, StreamEnd):
            self.end = part
        else:
            assert self.columns is None
            self.columns = part
        return 50

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return [row for chunk in self.chunks for row in zip(*chunk.data, strict=True)]


class Held(Taken):
    """Takes so many chunks, and no more until `released`."""

    def __init__(self, chunks: int = 1, row_bytes: int = 20) -> None:
        super().__init__(row_bytes)
        self._until = chunks
        self.holds = asyncio.Event()
        self.released = asyncio.Event()

    async def deliver(self, part: tuple[Column, ...] | Rows | StreamEnd) -> int:
        size = await super().deliver(part)
        if len(self.chunks) >= self._until:
            self.holds.set()
            await self.released.wait()
        return size


async def stream(
    backend: Backend, who: Scope, sql: str, *values: Any, into: Taken | None = None, **options: Any
) -> Taken:
    """A whole stream."""
    taken = into or Taken()
    limits = {"max_rows": NO_LIMIT} | options
    await backend.stream(who, statement(sql, *values, read_only=True, **limits), taken.deliver)
    return taken


async def cut_off(
    backend: Backend, who: Scope, sql: str, *values: Any, **options: Any
) -> tuple[Taken, UsherError]:
    """A stream that fails: what came before, and the error."""
    taken = Taken()
    with pytest.raises(UsherError) as refused:
        await stream(backend, who, sql, *values, into=taken, **options)
    assert taken.end is None
    return taken, refused.value


async def cancelled(task: asyncio.Task[Any], check: Callable[[], object] = bool) -> None:
    """Cancels a stream and waits for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
