"""The sidecar's end of the public listener: binds its port, starts its process, feeds and replaces it.

The listener has a process of its own because an interpreter runs one thing at a time: a thread would wait for
whatever the gRPC side does in one go (docs/adr/0012-jwks-listener.md has the figures). The port is bound here
and stays bound, so that connections wait while a process that died is replaced.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.events import JwksServed, Observer, PublicHttpEnded, RpcFault
from sidecar.core.keyring import PublishedKeys
from sidecar.web.child_process import ENDING_SECONDS, ChildProcess
from sidecar.web.feed import Order, order_line, report_of
from sidecar.web.server import address_of, bind

START_SECONDS: Final = 30.0
"""For a process to listen: usually half a second, more on a machine that is busy."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at the process and at the age of the set."""
MOST_SILENT_LOOKS: Final = 10
"""A process that reports nothing for so many is taken for stuck and replaced. Looks are counted, not seconds:
a machine that stood still has no silent process."""
LAGS_KEPT: Final = 60
KEPT_VARIABLES: Final = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "TZ",
)
"""What the process is told of the environment, which may hold passwords and keys."""


class PublicProcess:
    """The public listener, seen from the sidecar.

    `command` starts its process; it is given two arguments more, the numbers of the channel's file and, by
    commas, of the bound sockets. `faults` observes faults that the process has logged itself.
    """

    def __init__(
        self,
        address: str,
        published: Callable[[], PublishedKeys],
        command: Sequence[str],
        clock: Clock,
        observer: Observer,
        faults: Observer,
    ) -> None:
        self.address = address
        """host:port where it listens, with the port that port 0 became."""
        self._published = published
        self._command = tuple(command)
        self._clock = clock
        self._observer = observer
        self._faults = faults
        self._sockets: tuple[socket.socket, ...] = ()
        self._child: _Child | None = None
        self._stopping = False
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)

    @property
    def lag(self) -> float:
        """By how many seconds the process was late at worst in the last minute; while it says nothing, for
        how long by now."""
        silent = self._child.silent_looks if self._child else 0
        return max([0.0, *self._lags, silent * LOOK_SECONDS if silent > 2 else 0.0])

    async def start(self) -> str:
        """Listens, and returns the address. Raises SettingsError when it cannot be had."""
        self._sockets = await bind("http_address", self.address)
        self.address = address_of(self.address, self._sockets)
        try:
            self._child = await self._spawn()
        except BaseException:
            self._close_sockets()
            raise
        return self.address

    async def run(self) -> None:
        """Keeps a process running and its set current, until stopped."""
        while self._child is not None and not self._stopping:
            await self._look(self._child)

    def refresh(self) -> None:
        """Sends the set, if it is another than the last one, at once: a key is served before it signs."""
        if self._child is not None:
            self._child.send(self._published())

    async def stop(self, grace: float) -> None:
        """Listens no more, and lets requests in flight end for `grace` seconds."""
        self._stopping = True
        self._close_sockets()
        if self._child is not None:
            await self._child.stop(grace)

    async def _look(self, child: _Child) -> None:
        ended, later = child.ended, asyncio.ensure_future(self._clock.sleep(LOOK_SECONDS))
        await asyncio.wait([ended, later], return_when=asyncio.FIRST_COMPLETED)
        later.cancel()
        if self._stopping:
            return
        if not ended.done():
            child.silent_looks += 1
            if child.silent_looks > MOST_SILENT_LOOKS:
                child.kill()
            self.refresh()
            return
        self._observer(PublicHttpEnded(code=await child.reap(0.0)))
        try:
            self._child = await self._spawn()
        except (OSError, EOFError) as error:  # a time-out is an OSError
            self._observer(RpcFault(method="http", request_id="", error=error))
            await self._clock.sleep(LOOK_SECONDS)

    async def _spawn(self) -> _Child:
        """A process that listens. Raises OSError, TimeoutError, or EOFError when it ended at once."""
        child = _Child(self._heard)
        await child.start(self._command, self._sockets)
        try:
            child.send(self._published())
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait([child.ready, child.ended], return_when=asyncio.FIRST_COMPLETED)
            if not child.ready.done():
                raise EOFError("the process of the public listener ended at once")
        except BaseException:
            child.kill()
            await child.reap(ENDING_SECONDS)
            raise
        return child

    def _heard(self, line: bytes) -> None:
        report = report_of(line)
        self._lags.append(report.late)
        for each, count in report.served.items():
            self._observer(
                JwksServed(status=each.status, agent=each.agent, version=each.version, count=count)
            )
        for _ in range(report.faults):
            self._faults(RpcFault(method="http", request_id="", error=RuntimeError("in the public listener")))

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = ()


class _Child:
    """The process as the listener sees it: whether it listens, what it was sent, how long it is silent."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.silent_looks = 0
        self._heard = heard
        self._sent: PublishedKeys | None = None
        self._process: ChildProcess

    async def start(self, command: Sequence[str], sockets: Sequence[socket.socket]) -> None:
        """Starts it. Raises OSError."""
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._process = await ChildProcess.start(
            command, self._line, sockets=sockets, environment=environment
        )

    @property
    def ended(self) -> asyncio.Future[None]:
        """When it has ended."""
        return self._process.ended

    def send(self, published: PublishedKeys) -> None:
        """Sends a set, unless it is the one that was sent last."""
        if published is not self._sent:
            self._process.send(order_line(Order(published=published)))
            self._sent = published

    async def stop(self, grace: float) -> None:
        """Has it end; by force when it does not."""
        self._process.send(order_line(Order(stop=grace)))
        await self.reap(grace + ENDING_SECONDS)

    async def reap(self, patience: float) -> int:
        """Waits for the end, makes one after `patience` seconds, and returns the exit status."""
        return await self._process.reap(patience)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def _line(self, line: bytes) -> None:
        self.silent_looks = 0
        report = report_of(line)
        if report.ready and not self.ready.done():
            self.ready.set_result(None)
        self._heard(line)
