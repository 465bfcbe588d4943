"""What the process of the public listener does, run here on both ends of a channel."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.events import JwksServed, KeySetRefused, RpcFault
from sidecar.core.keyring import PublishedKeys
from sidecar.web import public_child
from sidecar.web.discovery import JWKS_PATH
from sidecar.web.feed import Lines, Order, Report, Served, order_line, report_of
from sidecar.web.public_child import Reporter, most_connections, serve
from sidecar.web.server import MAX_CONNECTIONS, address_of, bind
from tests.fakes import Recorder
from tests.web.raw_client import connected

PATIENCE = 5.0
KEYS = PublishedKeys(
    body=b'{"keys":[{"kid":"one"}]}', etag='"1"', max_age=300, algorithms=("ES256",), version=1
)
NEWER = replace(KEYS, body=b'{"keys":[{"kid":"two"}]}', etag='"2"', version=2)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0)


class Parent:
    """The sidecar's end of the channel, and the child at work."""

    def __init__(self, child: asyncio.Task[None], address: str, log: Recorder) -> None:
        self.child = child
        self.address = address
        self.log = log
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.transport: asyncio.WriteTransport

    async def connect(self, channel: socket.socket) -> None:
        self.transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Lines(lambda line: self.reports.put_nowait(report_of(line)), self.ended.set), channel
        )

    def send(self, order: Order) -> None:
        self.transport.write(order_line(order))

    async def report(self) -> Report:
        async with asyncio.timeout(PATIENCE):
            return await self.reports.get()

    async def get(self) -> bytes:
        async with connected(self.address) as client:
            reply = await client.ask("GET", JWKS_PATH, User_Agent="neon-proxy/1")
            assert reply.status == 200
            return reply.body

    async def get_until(self, body: bytes) -> None:
        """An order and a request come by different ways."""
        async with asyncio.timeout(PATIENCE):
            while await self.get() != body:
                pass


@pytest.fixture
async def parent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parent]:
    monkeypatch.setattr(public_child, "BEAT_SECONDS", 60.0)
    ours, theirs = socket.socketpair()
    bound = await bind("http_address", "127.0.0.1:0")
    log = Recorder()
    child = asyncio.create_task(serve(theirs, bound, "https://issuer.example", SystemClock(), log))
    parent = Parent(child, address_of("127.0.0.1:0", bound), log)
    await parent.connect(ours)
    yield parent
    parent.transport.close()
    async with asyncio.timeout(PATIENCE):
        await child
    for each in bound:
        each.close()


async def test_the_port_is_closed_until_there_is_a_key(parent: Parent) -> None:
    with pytest.raises(ConnectionRefusedError):
        await parent.get()
    assert parent.reports.empty()
    parent.send(Order(published=KEYS))
    assert (await parent.report()).ready
    assert await parent.get() == KEYS.body


async def test_it_serves_the_set_that_it_was_sent_last_and_never_an_older_or_empty_one(
    parent: Parent,
) -> None:
    parent.send(Order(published=KEYS))
    await parent.report()
    parent.send(Order(published=NEWER))
    await parent.get_until(NEWER.body)
    parent.send(Order(published=KEYS))
    parent.send(Order(published=replace(KEYS, body=b'{"keys":[]}', algorithms=(), version=3)))
    await until(lambda: len(parent.log.events) >= 2)
    assert await parent.get() == NEWER.body
    assert parent.log.events == [
        KeySetRefused(version=1, served=2, empty=False),
        KeySetRefused(version=3, served=2, empty=True),
    ]


async def test_it_goes_on_with_the_last_set_while_nobody_says_anything(parent: Parent) -> None:
    parent.send(Order(published=KEYS))
    await parent.report()
    for _ in range(3):
        assert await parent.get() == KEYS.body


async def test_an_order_to_stop_lets_go_of_the_port_and_tells_the_last_counts(parent: Parent) -> None:
    parent.send(Order(published=KEYS))
    await parent.report()
    await parent.get()
    await parent.get()
    parent.send(Order(stop=1.0))
    async with asyncio.timeout(PATIENCE):
        await parent.ended.wait()
        await parent.child
    counts = 0
    while not parent.reports.empty():
        served = parent.reports.get_nowait().served
        counts += served.get(Served(status=200, agent="neon-proxy", version=1), 0)
    assert counts == 2
    with pytest.raises(ConnectionRefusedError):
        await parent.get()


@pytest.mark.parametrize("started", [True, False])
async def test_it_ends_when_the_sidecar_is_gone(parent: Parent, started: bool) -> None:
    if started:
        parent.send(Order(published=KEYS))
        await parent.report()
    parent.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await parent.child


async def test_it_reports_how_late_it_was(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_child, "BEAT_SECONDS", 0.01)
    parent.send(Order(published=KEYS))
    assert (await parent.report()).ready
    assert 0.0 <= (await parent.report()).late < PATIENCE


class Pipe(asyncio.WriteTransport):
    """A transport that keeps what it is given, and whose other end may be slow."""

    unread = 0

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[Report] = []

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.reports.append(report_of(bytes(data)))


SERVED = JwksServed(status=200, agent="other", version=4)


async def test_a_crowd_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_child, "REPORT_SECONDS", 0.0)
    pipe, log = Pipe(), Recorder()
    reporter = Reporter(pipe, log)
    fault = RpcFault(method="http", request_id="", error=ValueError())
    for event in (SERVED, SERVED, fault, JwksServed(status=405, agent="other"), SERVED):
        reporter(event)
    assert pipe.reports == []
    await until(lambda: pipe.reports != [])
    assert pipe.reports == [
        Report(
            served={
                Served(status=200, agent="other", version=4): 3,
                Served(status=405, agent="other", version=0): 1,
            },
            faults=1,
        )
    ]
    assert log.events == [fault]
    reporter.report()
    assert pipe.reports[1:] == [Report()]


async def test_reports_wait_for_a_sidecar_that_reads_none_and_nothing_is_lost() -> None:
    pipe = Pipe()
    reporter = Reporter(pipe, Recorder())
    pipe.unread = public_child.MOST_UNREAD_BYTES + 1
    for late in (0.5, 0.1):
        reporter(SERVED)
        reporter.report(late=late)
    assert pipe.reports == []
    pipe.unread = 0
    reporter.report()
    assert pipe.reports == [Report(served={Served(status=200, agent="other", version=4): 2}, late=0.5)]


def test_connections_fit_into_the_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        assert most_connections() == MAX_CONNECTIONS
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= MAX_CONNECTIONS
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert most_connections() == MAX_CONNECTIONS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
