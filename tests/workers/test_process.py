"""One worker seen from its supervisor: a start, a refusal, what it says, and every way to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.workers import process
from sidecar.workers.link import LinkError
from sidecar.workers.process import WorkerProcess
from tests.fakes import Recorder
from tests.workers.programs import COMMAND, told

PATIENCE = 20.0


def new(checked: Callable[[], None] = lambda: None) -> WorkerProcess:
    return WorkerProcess(0, {}, Recorder(), checked, set())


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def test_it_is_there_once_it_says_where() -> None:
    checked = asyncio.Event()
    worker = new(checked.set)
    assert not worker.ready
    await worker.start(COMMAND, told(address="127.0.0.1:7"))
    assert worker.addresses == {"grpc_address": "127.0.0.1:7"}
    assert worker.replicas == {"one"}
    await until(checked)
    assert worker.ready
    assert await worker.metrics() == [worker.pid]
    assert await worker.stop(PATIENCE) == 0
    assert worker.ended.done()
    worker.tell("stop")  # nobody is there to hear it


async def test_one_whose_checks_are_not_well_is_not_ready() -> None:
    checked = asyncio.Event()
    worker = new(checked.set)
    await worker.start(COMMAND, told("ail"))
    await until(checked)
    assert not worker.ready
    await worker.stop(PATIENCE)


async def test_what_a_worker_refuses_is_raised_as_it_was_there() -> None:
    with pytest.raises(SettingsError, match="port taken"):
        await new().start(COMMAND, told("refuse", message="port taken", reason=None))
    with pytest.raises(UsherError, match="store away") as caught:
        await new().start(COMMAND, told("refuse", message="store away", reason="KEY_STORE_UNAVAILABLE"))
    assert caught.value.reason is Reason.KEY_STORE_UNAVAILABLE


async def test_one_that_ends_at_once_or_cannot_be_run_is_an_error() -> None:
    with pytest.raises(EOFError):
        await new().start(COMMAND, told("end"))
    with pytest.raises(OSError, match="no-such-program"):
        await new().start(("/no-such-program",), told())


async def test_one_that_does_not_end_when_told_to_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ENDING_SECONDS", 0.1)
    worker = new()
    await worker.start(COMMAND, told("stay"))
    assert await worker.stop(0.0) == -9


async def test_who_asks_one_that_falls_is_told_when_it_is_reaped() -> None:
    worker = new()
    await worker.start(COMMAND, told())
    worker.tell("fall")
    asked = asyncio.ensure_future(worker.metrics())
    assert await worker.reap(PATIENCE) == -9
    with pytest.raises(LinkError):
        await asked
