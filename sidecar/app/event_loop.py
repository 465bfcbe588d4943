"""Which event loop serves: uvloop, where it is installed, needs less CPU than asyncio's own.

docs/adr/0014-round-trips.md has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sidecar.core.errors import SettingsError

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], chosen: str) -> T:
    """Runs `main` to its end on the loop that the setting event_loop names, as asyncio.run does."""
    try:
        factory = loop_factory(chosen)
    except SettingsError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def loop_factory(chosen: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None for asyncio's own. Raises SettingsError for uvloop where there is none."""
    if chosen == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if chosen == "auto":
            return None
        raise SettingsError(
            "event_loop: uvloop is not installed; install it, or set event_loop to auto or asyncio"
        ) from None
    return uvloop.new_event_loop
