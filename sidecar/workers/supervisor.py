"""The supervisor of workers: starts them, replaces those that end or hang, and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.events import Observer, WorkerEnded, WorkerNotStarted
from sidecar.workers.backoff import Backoff
from sidecar.workers.process import WorkerProcess

LOOK_SECONDS: Final = 1.0
"""Between two looks at a worker."""
MOST_SILENT_LOOKS: Final = 10
"""A worker that says nothing for so many is taken for stuck and replaced. Looks are counted, not seconds: a
machine that stood still has no silent worker."""

Spawn = Callable[[int], Awaitable[WorkerProcess]]
"""Starts the worker of a number, and returns once it serves. Raises as WorkerProcess.start."""
Forget = Callable[[WorkerProcess], Awaitable[None]]
"""Is told of a worker that has ended. Must not raise."""


class Supervisor:
    """Keeps `count` workers, numbered from 0."""

    def __init__(
        self,
        count: int,
        spawn: Spawn,
        forget: Forget,
        clock: Clock,
        observer: Observer,
        *,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called when `trouble` may be another one."""
        self._workers: list[WorkerProcess | None] = [None] * count
        self._spawn = spawn
        self._forget = forget
        self._clock = clock
        self._observer = observer
        self._changed = changed

    @property
    def workers(self) -> Sequence[WorkerProcess | None]:
        """By their numbers; None for one that is not there."""
        return self._workers

    async def start(self) -> None:
        """Starts all of them. One that refuses ends the others. Raises as Spawn."""
        starting = [asyncio.ensure_future(self._spawn(number)) for number in range(len(self._workers))]
        try:
            for number, started in enumerate(starting):
                self._put(number, await started)
        except BaseException:
            await self._give_up(starting)
            raise

    async def run(self) -> None:
        """Replaces whoever ends, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self._workers)):
                tasks.create_task(self._keep(number), name=f"worker {number}")

    async def stop(self, grace: float) -> None:
        """Has all of them drain and end, once `run` is over."""
        there = [worker for worker in self._workers if worker is not None]
        await asyncio.gather(*(worker.stop(grace) for worker in there))
        for worker in there:
            await self._forget(worker)
        self._workers = [None] * len(self._workers)

    def tell(self, what: str) -> None:
        """Passes news on to every worker."""
        for worker in self._workers:
            if worker is not None:
                worker.tell(what)

    def trouble(self) -> str | None:
        """Why no call would be served well, in public words; None while one worker at least is ready."""
        there = [worker for worker in self._workers if worker is not None]
        if any(worker.ready for worker in there):
            return None
        found = [check for worker in there for check in worker.checks if not check.ok]
        return f"no worker is ready; {found[0].name}: {found[0].detail}" if found else "no worker runs"

    async def _keep(self, number: int) -> None:
        backoff, since = Backoff(), self._clock.monotonic()
        while True:
            worker = self._workers[number]
            ran = 0.0
            if worker is not None:
                code = await self._ended(worker)
                self._put(number, None)
                ran = self._clock.monotonic() - since
            wait = backoff.after(ran)
            if worker is not None:
                self._observer(WorkerEnded(worker=number, code=code, again_in=wait))
                await self._forget(worker)
            await self._clock.sleep(wait)
            since = self._clock.monotonic()
            try:
                self._put(number, await self._spawn(number))
            except (SettingsError, UsherError, OSError, EOFError) as error:
                self._observer(WorkerNotStarted(worker=number, detail=_public(error)))

    def _put(self, number: int, worker: WorkerProcess | None) -> None:
        self._workers[number] = worker
        self._changed()

    async def _ended(self, worker: WorkerProcess) -> int:
        """Waits for its end, and makes one when it is stuck."""
        ended = asyncio.Event()
        worker.ended.add_done_callback(lambda _: ended.set())
        while not worker.ended.done():
            await woken_or_later(self._clock, ended, LOOK_SECONDS)
            worker.silent_looks += 1
            if worker.silent_looks > MOST_SILENT_LOOKS:
                worker.kill()
        return await worker.reap(0.0)

    async def _give_up(self, starting: Sequence[asyncio.Future[WorkerProcess]]) -> None:
        self._workers = [None] * len(self._workers)
        for started in starting:
            started.cancel()
        for result in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(result, WorkerProcess):
                result.kill()
                await result.reap(0.0)
                await self._forget(result)


def _public(error: Exception) -> str:
    if isinstance(error, UsherError):
        return error.message
    return str(error) if isinstance(error, SettingsError) else type(error).__name__
