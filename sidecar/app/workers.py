"""A sidecar of several workers: the supervisor, which has the keys in memory, the JWKS, metrics and probes.

It is a replica of the key store that publishes and never signs, as `usher jwks serve` is, and the parent of
the workers. With key_store=memory it is the store as well: docs/adr/0018-workers.md says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sidecar.app.edge import EdgeAddresses, PublicSide
from sidecar.app.key_stores import build_key_store
from sidecar.app.parts import say_what_weakens
from sidecar.app.serving import Addresses
from sidecar.app.worker import COMMAND, HandedOver
from sidecar.config import Config
from sidecar.config.key_settings import MEMORY
from sidecar.config.worker_settings import share
from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.events import Lifecycle
from sidecar.core.key_store import KeyStore
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.rotation import join
from sidecar.core.sealing import Sealer, new_key
from sidecar.telemetry.worker_gauges import WorkerState
from sidecar.workers import shared_keys, shared_revocations
from sidecar.workers.process import WorkerProcess
from sidecar.workers.shared_keys import key_answers
from sidecar.workers.shared_revocations import revocation_answers
from sidecar.workers.supervisor import Supervisor


async def serve(
    config: Config,
    clock: Clock,
    stop: asyncio.Event,
    started: Callable[[Addresses], None],
    reload: asyncio.Event | None = None,
) -> None:
    """As serving.serve, with `config.workers` processes.

    Raises as it, also for what stops a worker at the start.
    """
    if config.key_store == MEMORY:
        store: KeyStore = MemoryKeyStore(clock, shared=True)
    else:
        store = await build_key_store(config, clock)
    side = PublicSide(config, clock, store)
    say_what_weakens(config, side.observe)
    workers = _Workers(config, clock, side, store)
    async with contextlib.AsyncExitStack() as stack:
        # After the public port: whoever is forgotten must not be asked for keys any more.
        stack.push_async_callback(side.follower.leave)
        await join(side.follower, config.rotation_settings, side.observe)
        # The JWKS first: no worker signs with a key that is not served.
        opened = await side.open(stack, {"workers": workers.supervisor.trouble}, workers.metrics)
        stack.push_async_callback(workers.supervisor.stop, 0.0)
        try:
            if not await _done_before(stop, workers.supervisor.start()):
                return
        except (EOFError, TimeoutError):
            raise SettingsError("workers: one ended or hung at its start; the log says why") from None
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(), name=name) for name, run in opened.tasks.items()]
            running.append(tasks.create_task(workers.pass_on(reload or asyncio.Event()), name="reload"))
            supervising = tasks.create_task(workers.supervisor.run(), name="workers")
            addresses = workers.addresses(opened.addresses)
            side.observe(Lifecycle(phase="started", detail=addresses.text()))
            started(addresses)
            await stop.wait()
            side.observe(Lifecycle(phase="draining", detail=f"calls in flight have {config.drain_grace:g} s"))
            opened.health.stop()
            supervising.cancel()
            await asyncio.wait([supervising])
            await workers.supervisor.stop(config.drain_grace)
            for task in running:
                task.cancel()
    side.observe(Lifecycle(phase="stopped"))


async def _done_before(stop: asyncio.Event, starting: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done before `stop` was set; else it is cancelled. Raises as it."""
    start, stopped = asyncio.ensure_future(starting), asyncio.ensure_future(stop.wait())
    await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait([start])
        return False
    start.result()
    return True


class _Workers:
    """The workers of this supervisor, and what they have of it."""

    def __init__(self, config: Config, clock: Clock, side: PublicSide, store: KeyStore) -> None:
        self._config = config
        self._side = side
        self._store = store
        self._revocations = MemoryRevocations(clock)
        self._link_key = new_key()
        self._known: dict[int, Mapping[str, str]] = {}
        self.supervisor = Supervisor(
            config.workers, self._spawn, self._forget, clock, side.observe, changed=side.wake
        )
        side.metrics.watch_workers(self._states)

    def addresses(self, public: EdgeAddresses) -> Addresses:
        """Where all of this listens."""
        by_worker = [self._known[number] for number in range(self._config.workers)]
        return Addresses(
            grpc=",".join(known["grpc_address"] for known in by_worker),
            grpc_admin=by_worker[0]["grpc_admin_address"],
            connect=",".join(filter(None, (known["connect_address"] for known in by_worker))),
            http=public.http,
            admin_http=public.admin_http,
        )

    async def metrics(self, accept: str | None) -> tuple[bytes, str]:
        """Those of this process and of every worker that answers."""
        there = [worker for worker in self.supervisor.workers if worker is not None]
        counted = await asyncio.gather(*(worker.metrics() for worker in there), return_exceptions=True)
        return self._side.metrics.render(
            accept,
            {
                worker.number: families
                for worker, families in zip(there, counted, strict=True)
                if not isinstance(families, BaseException)
            },
        )

    async def pass_on(self, reload: asyncio.Event) -> None:
        """Has every worker read its files again whenever `reload` is set, until cancelled."""
        while True:
            await reload.wait()
            reload.clear()
            self.supervisor.tell("reload")

    async def _spawn(self, number: int) -> WorkerProcess:
        replicas: set[str] = set()
        answers = dict(revocation_answers(self._revocations, self._list_changed))
        if self._config.key_store == MEMORY:
            answers |= key_answers(self._store, Sealer.parse(self._link_key), replicas, self._ring_changed)
        worker = WorkerProcess(number, answers, self._side.observe, self._side.wake, replicas)
        handed_over = HandedOver(
            # Where it listened before, it listens again: clients know it there.
            config=share(self._config, number, self._known.get(number, {})),
            number=number,
            workers=self._config.workers,
            link_key=self._link_key,
        )
        await worker.start(COMMAND, handed_over.packed())
        self._known[number] = worker.addresses
        return worker

    async def _forget(self, worker: WorkerProcess) -> None:
        """A worker that has ended signs no more: nobody need wait for it."""
        for replica in worker.replicas:
            with contextlib.suppress(UsherError, SettingsError):
                await self._store.leave(replica)

    async def _ring_changed(self) -> None:
        # Served before the worker that asked may sign by it.
        await self._side.follower.sync()
        self.supervisor.tell(shared_keys.CHANGED)

    def _list_changed(self) -> None:
        self.supervisor.tell(shared_revocations.CHANGED)

    def _states(self) -> list[WorkerState]:
        return [
            WorkerState(up=worker is not None, ready=worker is not None and worker.ready)
            for worker in self.supervisor.workers
        ]
