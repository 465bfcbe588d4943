"""A clock that moves on as soon as nobody has anything left to do at the present moment."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fakes import FakeClock


class ExactClock(FakeClock):
    """For tasks without I/O: instead of giving them some turns it looks whether any of them can go on."""

    async def settle(self) -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while loop._ready:  # noqa: ASYNC110 - there is nothing that would set an event
            await asyncio.sleep(0)
