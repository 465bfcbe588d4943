"""uvloop where it is installed: a ceiling on a slower loop than Usher's would be none."""

from __future__ import annotations

import asyncio
import importlib


def fast_loop() -> asyncio.Runner:
    """What runs a coroutine on the fastest loop that is here."""
    try:
        return asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop)
    except ModuleNotFoundError:
        return asyncio.Runner()
