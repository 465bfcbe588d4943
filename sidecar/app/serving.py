"""A sidecar from start to stop.

Start: keys, then the ports; the database is connected in the background. Stop: not ready, no new calls, calls
in flight end, then the public HTTP port (verifiers may fetch keys until the last call is done), tasks, pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.app.parts import Above, Parts, build
from sidecar.config import Config
from sidecar.core.clock import Clock
from sidecar.core.events import Lifecycle
from sidecar.core.health import Check
from sidecar.services.rpcs import KEY_SERVICE, QUERY_SERVICE, REVOCATION_SERVICE, TOKEN_SERVICE

_GC_THRESHOLDS = (20_000, 20, 20)
"""Python's are (700, 10, 10): a single result of some hundred rows would have it look."""
_LAST_ANSWERS_SECONDS = 0.5
"""For answers that are on their way when the last call has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a started sidecar listens."""

    grpc: str
    """With workers, here and at `connect`, the address of each, by commas."""
    grpc_admin: str
    http: str
    admin_http: str
    connect: str = ""

    def text(self) -> str:
        """Those that there are, in one line."""
        named = (
            ("grpc", self.grpc),
            ("grpc_admin", self.grpc_admin),
            ("connect", self.connect),
            ("http", self.http),
            ("admin_http", self.admin_http),
        )
        return " ".join(f"{name}={address}" for name, address in named if address)


async def serve(
    config: Config,
    clock: Clock,
    stop: asyncio.Event,
    started: Callable[[Addresses], None],
    reload: asyncio.Event | None = None,
    above: Above | None = None,
) -> None:
    """Serves until `stop` is set, then drains. `started` is called once every port is open.

    Setting `reload` has files read again at once. `above` is given to a worker.

    Raises SettingsError when an address cannot be had, and an ExceptionGroup when a task dies.
    """
    parts = await build(config, clock, reload or asyncio.Event(), above)
    if above is not None:
        above.built(parts)

    async def publish(checks: tuple[Check, ...]) -> None:
        await _publish(parts, checks)
        if above is not None:
            above.checked(checks)

    async with contextlib.AsyncExitStack() as stack:
        # After the public port: whoever is forgotten must not be asked for keys any more.
        stack.push_async_callback(parts.follower.leave)
        stack.push_async_callback(parts.database.close, config.drain_grace)
        stack.push_async_callback(parts.revocations.close)
        addresses = await _listen(parts, config, stack)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(parts.rotator.run(), name="rotation"),
                tasks.create_task(parts.database.run(), name="database"),
                tasks.create_task(parts.revocations.run(), name="revocations"),
                tasks.create_task(parts.health.watch(publish), name="health"),
            ]
            if parts.http is not None:
                running.append(tasks.create_task(parts.http.public.run(), name="public_http"))
            if parts.policy_reloader is not None:
                reloading = parts.policy_reloader.run(parts.authorizer, parts.callers.configure)
                running.append(tasks.create_task(reloading, name="policy"))
            running += [tasks.create_task(run(), name=name) for name, run in parts.callers.tasks().items()]
            _settle_memory()
            _say(parts, "started", addresses.text())
            started(addresses)
            await stop.wait()
            await _drain(parts, config.drain_grace)
            for task in running:
                task.cancel()
    _say(parts, "stopped")


def _settle_memory() -> None:
    """Takes what the start has made out of the garbage collector's sight: it stays, and looking through it
    again and again costs queries a tenth of their CPU (docs/adr/0014-round-trips.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _listen(parts: Parts, config: Config, stack: contextlib.AsyncExitStack) -> Addresses:
    """Opens the ports. The stack closes them in reverse, the public one last of all."""
    http = admin_http = ""
    if parts.http is not None:
        http = await parts.http.public.start()
        stack.push_async_callback(parts.http.public.stop, 1.0)
        admin_http = await parts.http.admin.start()
        stack.push_async_callback(parts.http.admin.stop, 1.0)
    for listener in filter(None, (parts.rpc, parts.rpc_admin)):
        await listener.start()
        stack.push_async_callback(listener.stop, 0.0)
    if parts.connect is not None:
        await parts.connect.start()
        stack.push_async_callback(parts.connect.stop, 0.0)
    return Addresses(
        grpc=parts.rpc.address,
        grpc_admin=parts.rpc_admin.address if parts.rpc_admin else "",
        connect=parts.connect.address if parts.connect else "",
        http=http,
        admin_http=admin_http,
    )


async def _publish(parts: Parts, checks: tuple[Check, ...]) -> None:
    """Tells gRPC health: tokens need a key, queries the database and a current deny list as well."""
    ok = {check.name: check.ok for check in checks}
    states = {
        TOKEN_SERVICE: ok["running"] and ok["keys"],
        QUERY_SERVICE: ok["running"] and ok["keys"] and ok["database"] and ok["revocations"],
        KEY_SERVICE: ok["running"],
        REVOCATION_SERVICE: ok["running"],
        "": all(ok.values()),
    }
    for listener in filter(None, (parts.rpc, parts.rpc_admin)):
        await listener.set_serving(states)
    if states[""]:
        _say(parts, "ready")


async def _drain(parts: Parts, grace: float) -> None:
    _say(parts, "draining", f"calls in flight have {grace:g} s")
    parts.health.stop()
    parts.calls.refuse_new()
    listeners = [listener for listener in (parts.rpc, parts.rpc_admin) if listener]
    await asyncio.gather(*(listener.turn_unhealthy() for listener in listeners))
    # Our own calls alone: a client that watches the health service would hold a stop up for ever.
    await parts.calls.until_idle(grace)
    # One after the other: timed stops of two servers at once have crashed inside gRPC.
    if parts.connect is not None:
        await parts.connect.stop(_LAST_ANSWERS_SECONDS)
    for listener in listeners:
        await listener.stop(_LAST_ANSWERS_SECONDS)


def _say(parts: Parts, phase: str, detail: str = "") -> None:
    parts.observer(Lifecycle(phase=phase, detail=detail))
