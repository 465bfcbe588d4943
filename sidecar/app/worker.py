"""The program of a worker: a sidecar without HTTP of its own, whose keys and deny list are its supervisor's.

Run as `python -P -m sidecar.app.worker CHANNEL`, the number of an inherited socket. Its settings come on
standard input, because arguments are seen by others. It ends when its supervisor says so or is gone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.app import event_loop
from sidecar.app.parts import Above, Parts
from sidecar.app.serving import Addresses, serve
from sidecar.config import Config
from sidecar.config.key_settings import MEMORY
from sidecar.core.clock import SystemClock
from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.health import Check
from sidecar.core.sealing import Sealer
from sidecar.telemetry.logs import configure, observe
from sidecar.web.feed import Lines
from sidecar.web.public_child import shield_from_signals
from sidecar.workers import shared_keys, shared_revocations
from sidecar.workers.link import Link
from sidecar.workers.shared_keys import LinkKeyStore
from sidecar.workers.shared_revocations import LinkRevocations

COMMAND: Final = (sys.executable, "-P", "-m", "sidecar.app.worker")
BEAT_SECONDS: Final = 1.0
"""Between two signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What a worker is told at its start."""

    config: Config
    number: int
    workers: int
    """How many there are."""
    link_key: str
    """What seals private keys on the link."""

    def packed(self) -> bytes:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self)).encode("ascii")

    @classmethod
    def unpacked(cls, text: bytes) -> HandedOver:
        """From JSON."""
        said: dict[str, Any] = json.loads(text)
        return cls(**(said | {"config": Config(**said["config"])}))


def main(arguments: list[str]) -> None:
    """Serves until told to stop."""
    shield_from_signals()
    told = HandedOver.unpacked(sys.stdin.buffer.read())
    configure(told.config.log_format, told.config.log_level, worker=told.number)
    event_loop.run(_run(socket.socket(fileno=int(arguments[0])), told), told.config.event_loop)


async def _run(channel: socket.socket, told: HandedOver) -> None:
    """Raises nothing that the supervisor has been told."""
    worker = _Worker(told)
    await worker.connect(channel)
    beating = asyncio.create_task(worker.beat())
    try:
        await serve(told.config, worker.clock, worker.stop, worker.started, worker.reload, worker.above)
    except (SettingsError, UsherError) as error:
        worker.refused(error)
    finally:
        beating.cancel()


class _Worker:
    """This process's end of the link."""

    def __init__(self, told: HandedOver) -> None:
        self.clock = SystemClock()
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        self._transport: asyncio.WriteTransport
        self._parts: Parts
        self._link = Link(
            lambda line: self._transport.write(line),
            observe,
            answers={"metrics": self._metrics},
            news={
                "stop": lambda _: self.stop.set(),
                "reload": lambda _: self.reload.set(),
                shared_keys.CHANGED: lambda _: keys.wake(),
                shared_revocations.CHANGED: lambda _: revocations.wake(),
            },
        )
        keys = LinkKeyStore(self._link, Sealer.parse(told.link_key), self.clock)
        revocations = LinkRevocations(self._link, self.clock)
        self.above = Above(
            workers=told.workers,
            revocations=revocations,
            key_store=keys if told.config.key_store == MEMORY else None,
            built=self._built,
            checked=self._checked,
        )

    async def connect(self, channel: socket.socket) -> None:
        """Takes up our end of the channel."""
        self._transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Lines(self._link.heard, _orphaned), channel
        )

    async def beat(self) -> None:
        """Shows that this loop runs, until cancelled."""
        while True:
            self._link.tell("beat")
            await self.clock.sleep(BEAT_SECONDS)

    def started(self, addresses: Addresses) -> None:
        """Says that all ports are open."""
        listening = {
            "grpc_address": addresses.grpc,
            "grpc_admin_address": addresses.grpc_admin,
            "connect_address": addresses.connect,
        }
        self._link.tell("started", {"addresses": listening, "replica": self._parts.follower.replica})

    def refused(self, error: SettingsError | UsherError) -> None:
        """Says why this worker does not start."""
        self._link.tell(
            "refused",
            {
                "message": error.message if isinstance(error, UsherError) else str(error),
                "reason": error.reason.value if isinstance(error, UsherError) else None,
            },
        )

    def _built(self, parts: Parts) -> None:
        self._parts = parts

    def _checked(self, checks: Sequence[Check]) -> None:
        self._link.tell("checks", [dataclasses.asdict(check) for check in checks])

    async def _metrics(self, _: Any) -> Any:
        return self._parts.metrics.families()


def _orphaned() -> None:
    """Ends at once: whoever has no supervisor hears of no rotation and no revocation."""
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
