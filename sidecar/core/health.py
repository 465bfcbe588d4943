"""Health: named checks, and a watcher that is woken when one may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sidecar.core.clock import Clock, woken_or_later

LOOK_SECONDS: Final = 5.0
"""Between two looks when nobody wakes the watcher: some checks change by time alone."""

Trouble = Callable[[], str | None]
"""Says in public words what is wrong, or None. Quick, without I/O."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check as it stands; `detail` is public text, without addresses, passwords or values."""

    name: str
    ok: bool
    detail: str


class Health:
    """The checks of a process."""

    def __init__(self, troubles: Mapping[str, Trouble], clock: Clock) -> None:
        self._troubles = dict(troubles)
        self._clock = clock
        self._woken = asyncio.Event()
        self._stopping = False

    def checks(self) -> tuple[Check, ...]:
        """Every check as it stands now. A process that stops is not ready, whatever its parts say."""
        found = [("running", "the server is shutting down" if self._stopping else None)]
        found += [(name, trouble()) for name, trouble in self._troubles.items()]
        return tuple(Check(name=name, ok=trouble is None, detail=trouble or "ok") for name, trouble in found)

    def wake(self) -> None:
        """Says that a check may have changed."""
        self._woken.set()

    def stop(self) -> None:
        """Turns not ready, for good."""
        self._stopping = True
        self.wake()

    async def watch(self, report: Callable[[tuple[Check, ...]], Awaitable[None]]) -> None:
        """Calls `report` with the checks at first and after each change, until cancelled."""
        last: tuple[Check, ...] = ()
        while True:
            self._woken.clear()
            checks = self.checks()
            if checks != last:
                await report(checks)
                last = checks
            await woken_or_later(self._clock, self._woken, LOOK_SECONDS)
