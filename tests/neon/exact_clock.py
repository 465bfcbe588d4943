"""A clock that moves on as soon as nobody has anything left to do at the present moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes import FakeClock


class ExactClock(FakeClock):
    """Instead of giving tasks some turns it looks whether any of them can go on. Of those that wait for
    something real it knows by `working`."""

    def __init__(self) -> None:
        super().__init__()
        self._working = 0
        self._idle = asyncio.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Time stands still until this is done."""
        self._working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self._idle.set()

    async def settle(self) -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while loop._ready or self._working:
            if loop._ready:
                await asyncio.sleep(0)
            else:
                await self._idle.wait()
