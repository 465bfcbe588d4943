"""The public listener in a process of its own: serves the key set it is sent, reports what it served.

It ends when the sidecar says so or is gone, and by nothing else that a terminal or an init system sends: keys
must be served until the last call of a draining sidecar is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from sidecar.core.clock import Clock
from sidecar.core.events import Event, JwksServed, Observer
from sidecar.core.publication import Publication
from sidecar.web.discovery import Discovery
from sidecar.web.feed import Lines, Order, Report, Served, order_of, report_line
from sidecar.web.server import MAX_CONNECTIONS, HttpListener

BEAT_SECONDS: Final = 1.0
"""Between two reports when nothing happens."""
REPORT_SECONDS: Final = 0.25
"""At least between two when much does: a crowd here must not keep the sidecar busy."""
MOST_UNREAD_BYTES: Final = 64 * 1024
"""Past it reports wait, and are added up: a sidecar that is stuck must not fill the memory."""
_OTHER_FILES: Final = 64


async def serve(
    channel: socket.socket,
    listening: Sequence[socket.socket],
    issuer: str,
    clock: Clock,
    log: Observer,
    verifiers: Collection[str] = (),
) -> None:
    """Serves on sockets that are bound, until told to stop. `log` is told of faults.

    `verifiers` are user agents that are told apart in reports.
    """
    await _Child(issuer, clock, log, verifiers).run(channel, listening)


def shield_from_signals() -> None:
    """Leaves Ctrl-C and the stops of init systems to the sidecar."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def most_connections() -> int:
    """As many as MAX_CONNECTIONS and the limit of open files allow, which is raised when it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(1, min(wanted, soft) - _OTHER_FILES)
    return MAX_CONNECTIONS


class _Child:
    def __init__(self, issuer: str, clock: Clock, log: Observer, verifiers: Collection[str]) -> None:
        self._issuer = issuer
        self._verifiers = verifiers
        self._clock = clock
        self._log = log
        loop = asyncio.get_running_loop()
        self._publication: asyncio.Future[Publication] = loop.create_future()
        self._stop: asyncio.Future[float] = loop.create_future()

    async def run(self, channel: socket.socket, listening: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: Lines(self._obey, self._orphaned), channel)
        told: list[asyncio.Future[Any]] = [self._publication, self._stop]
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        if not self._publication.done():
            return
        publication = self._publication.result()
        reporter = Reporter(transport, self._log)
        discovery = Discovery(self._issuer, lambda: publication.now, reporter, self._verifiers)
        listener = HttpListener(
            "http_address", "", discovery.answer, reporter, max_connections=most_connections()
        )
        await listener.start(listening)
        reporter.report(ready=True)
        await self._beat(reporter)
        await listener.stop(await self._stop)
        reporter.report()
        transport.close()

    def _obey(self, line: bytes) -> None:
        order = order_of(line)
        if order.published is not None:
            self._publish(order)
        if order.stop is not None and not self._stop.done():
            self._stop.set_result(order.stop)

    def _publish(self, order: Order) -> None:
        assert order.published is not None
        if self._publication.done():
            self._publication.result().offer(order.published)
        else:
            self._publication.set_result(Publication(order.published, self._clock, self._log))

    def _orphaned(self) -> None:
        if not self._stop.done():
            self._stop.set_result(0.0)

    async def _beat(self, reporter: Reporter) -> None:
        """Reports how late this loop is, until it is to stop."""
        while not self._stop.done():
            due = self._clock.monotonic() + BEAT_SECONDS
            await asyncio.wait([self._stop], timeout=BEAT_SECONDS)
            reporter.report(late=max(0.0, self._clock.monotonic() - due))


class Reporter:
    """An Observer that adds up what it sees, and reports it when there is a chance."""

    def __init__(self, transport: asyncio.WriteTransport, log: Observer) -> None:
        self._transport = transport
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._served: Counter[Served] = Counter()
        self._faults = 0
        self._late = 0.0
        self._last = 0.0
        self._due: asyncio.TimerHandle | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, JwksServed):
            self._served[Served(status=event.status, agent=event.agent, version=event.version)] += event.count
        else:
            self._faults += 1
            self._log(event)
        if self._due is None:
            self._due = self._loop.call_at(self._last + REPORT_SECONDS, self.report)

    def report(self, *, ready: bool = False, late: float = 0.0) -> None:
        """Reports now, unless too much is unread: then later, with what comes meanwhile."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._late = max(self._late, late)
        if self._transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            return
        self._transport.write(
            report_line(Report(ready=ready, served=self._served, faults=self._faults, late=self._late))
        )
        self._served, self._faults, self._late, self._last = Counter(), 0, 0.0, self._loop.time()
