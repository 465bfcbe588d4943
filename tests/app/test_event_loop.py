"""The loop that serves, where uvloop is installed and where it is not."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

import pytest

from sidecar.app.event_loop import loop_factory, run
from sidecar.core.errors import SettingsError

INSTALLED = importlib.util.find_spec("uvloop") is not None


async def name() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.skipif(not INSTALLED, reason="uvloop is not installed here")
@pytest.mark.parametrize(
    ("chosen", "loop"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_the_loop_is_the_one_chosen(chosen: str, loop: str) -> None:
    assert run(name(), chosen) == loop


def test_without_uvloop_asyncio_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as Python marks what cannot be imported
    assert loop_factory("auto") is None
    with pytest.raises(SettingsError, match="event_loop"):
        run(name(), "uvloop")
