"""Keeping workers: real processes that end, hang and refuse, in a time that the test moves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.core.errors import SettingsError
from sidecar.core.events import WorkerEnded, WorkerNotStarted
from sidecar.workers import supervisor as module
from sidecar.workers.process import WorkerProcess
from sidecar.workers.supervisor import Supervisor
from tests.fakes import FakeClock, Recorder
from tests.workers.programs import COMMAND, told

PATIENCE = 20.0
TAKEN = told("refuse", message="grpc_address: taken", reason=None)


class Kept:
    """A supervisor of two, and all that it does. `next` is what the next workers are told to do."""

    def __init__(self) -> None:
        self.clock, self.seen = FakeClock(), Recorder()
        self.next: dict[int, bytes] = {}
        self.started: list[WorkerProcess] = []
        self.forgotten: list[WorkerProcess] = []
        self.changes = 0
        self.keeping: asyncio.Task[None] | None = None
        self.supervisor = Supervisor(2, self._spawn, self._forget, self.clock, self.seen, changed=self._count)

    async def start(self) -> None:
        """Starts both and keeps them."""
        await self.supervisor.start()
        self.keeping = asyncio.create_task(self.supervisor.run())

    def worker(self, number: int) -> WorkerProcess:
        worker = self.supervisor.workers[number]
        assert worker is not None
        return worker

    async def until(self, holds: Callable[[], bool]) -> None:
        """Moves time on until it does."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0.005)  # what changes is in another process
                await self.clock.advance(0.01)

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.supervisor.workers if worker is not None]

    async def _spawn(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(number, {}, self.seen, self._count, set())
        await worker.start(COMMAND, self.next.get(number, told()))
        self.started.append(worker)
        return worker

    async def _forget(self, worker: WorkerProcess) -> None:
        self.forgotten.append(worker)

    def _count(self) -> None:
        self.changes += 1


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    kept = Kept()
    yield kept
    if kept.keeping is not None:
        kept.keeping.cancel()
        await asyncio.wait([kept.keeping])
    await kept.supervisor.stop(PATIENCE)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_start_and_all_stop(kept: Kept) -> None:
    await kept.supervisor.start()
    pids = kept.pids()
    assert [worker.number for worker in kept.supervisor.workers if worker] == [0, 1]
    await kept.supervisor.stop(PATIENCE)
    assert not any(alive(pid) for pid in pids)
    assert set(kept.forgotten) == set(kept.started)
    assert kept.seen.of(WorkerEnded) == []


async def test_one_that_refuses_at_the_start_leaves_nobody(kept: Kept) -> None:
    kept.next[1] = TAKEN
    with pytest.raises(SettingsError, match="taken"):
        await kept.supervisor.start()
    assert kept.pids() == []
    assert not any(alive(worker.pid) for worker in kept.started)
    await kept.supervisor.stop(0.0)


async def test_one_that_falls_is_replaced_and_the_other_stays(kept: Kept) -> None:
    await kept.start()
    first, other = kept.pids()
    kept.worker(0).tell("fall")
    await kept.until(lambda: len(kept.started) == 3 and len(kept.pids()) == 2)
    assert kept.pids()[1] == other
    assert kept.pids()[0] != first
    assert kept.seen.of(WorkerEnded) == [WorkerEnded(worker=0, code=-9, again_in=0.0)]
    assert [worker.pid for worker in kept.forgotten] == [first]


async def test_one_that_says_nothing_is_taken_for_stuck(kept: Kept) -> None:
    """These programs never beat. The second starts its silence anew each time it answers."""
    await kept.start()
    for _ in range(module.MOST_SILENT_LOOKS - 1):
        await kept.clock.advance(module.LOOK_SECONDS)
        await kept.worker(1).metrics()
    await kept.clock.advance(2 * module.LOOK_SECONDS)
    await kept.until(lambda: bool(kept.seen.of(WorkerEnded)))
    assert [event.worker for event in kept.seen.of(WorkerEnded)] == [0]
    await kept.until(lambda: len(kept.pids()) == 2)


async def test_one_that_cannot_be_replaced_is_tried_again_ever_later(kept: Kept) -> None:
    await kept.start()
    kept.next[0] = TAKEN
    kept.worker(0).tell("fall")
    await kept.until(lambda: len(kept.seen.of(WorkerNotStarted)) == 2)
    assert kept.seen.of(WorkerNotStarted)[0] == WorkerNotStarted(worker=0, detail="grpc_address: taken")
    assert len(kept.pids()) == 1
    del kept.next[0]
    await kept.until(lambda: len(kept.pids()) == 2)


async def test_it_is_well_while_one_is(kept: Kept) -> None:
    assert kept.supervisor.trouble() == "no worker runs"
    kept.next[0] = kept.next[1] = told("ail")
    await kept.supervisor.start()
    await kept.until(lambda: kept.changes == 4)  # two came, and two said how they are
    assert kept.supervisor.trouble() == "no worker is ready; keys: public"
    await kept.supervisor.stop(PATIENCE)
    del kept.next[1]
    await kept.supervisor.start()
    await kept.until(lambda: kept.changes == 8)
    assert kept.supervisor.trouble() is None
    await kept.supervisor.stop(PATIENCE)
