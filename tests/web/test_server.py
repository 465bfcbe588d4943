"""The listener against clients that are slow, wrong, many or hostile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sidecar.core.errors import SettingsError
from sidecar.web.answers import json_answer
from sidecar.web.server import MAX_HEADERS, MAX_LINE_BYTES, HttpListener, source
from tests.fakes import Recorder
from tests.web.raw_client import RawClient, connected, listening

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(request: web.BaseRequest) -> web.Response:
    return json_answer(200, {"method": request.method})


@pytest.fixture
async def client() -> AsyncIterator[RawClient]:
    async with listening(hello) as address, connected(address) as client:
        yield client


def listener(address: str, setting: str = "http_address") -> HttpListener:
    return HttpListener(setting, address, hello, Recorder())


async def test_one_connection_carries_many_requests(client: RawClient) -> None:
    for _ in range(5):
        reply = await client.ask("GET", "/")
        assert (reply.status, reply.body) == (200, b'{"method":"GET"}\n')
        assert "connection" not in reply.headers


async def test_pipelined_requests_are_answered_in_order(client: RawClient) -> None:
    await client.send(GET + GET.replace(b"GET", b"PUT", 1) + GET)
    bodies = [(await client.reply()).body for _ in range(3)]
    assert bodies == [b'{"method":"GET"}\n', b'{"method":"PUT"}\n', b'{"method":"GET"}\n']


async def test_the_client_may_ask_for_a_close(client: RawClient) -> None:
    reply = await client.ask("GET", "/", Connection="close")
    assert reply.headers["connection"] == "close"
    assert await client.rest() == b""


async def test_http_1_0(client: RawClient) -> None:
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.reply()).status == 200
    assert await client.rest() == b""


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.3"])
async def test_an_upgrade_is_declined(client: RawClient, upgrade: str) -> None:
    assert (await client.ask("GET", "/", Connection="Upgrade", Upgrade=upgrade)).status == 200
    assert (await client.ask("GET", "/")).status == 200


async def test_a_body_that_nobody_reads_is_skipped(client: RawClient) -> None:
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + GET)
    assert [(await client.reply()).status for _ in range(2)] == [200, 200]
    await client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET
    )
    assert [(await client.reply()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,  # TLS on a plain port
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * (MAX_LINE_BYTES + 10) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (MAX_LINE_BYTES + 10) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host (RFC 9112 section 3.2)
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
async def test_malformed_requests_get_a_bare_400_and_no_log(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    with caplog.at_level(logging.INFO):
        async with listening(hello, recorder) as address:
            async with connected(address) as client:
                await client.send(data)
                reply = await client.reply()
                assert (reply.status, reply.body) == (400, b'{"error":"bad request"}\n')
                assert reply.headers["server"] == "usher"
                assert await client.rest() == b""
            async with connected(address) as client:
                assert (await client.ask("GET", "/")).status == 200
    assert caplog.text == ""
    assert recorder.events == []


async def test_garbage_behind_a_good_request(client: RawClient) -> None:
    await client.send(GET)
    assert (await client.reply()).status == 200
    await client.send(b"\x00garbage\r\n\r\n" + GET)
    assert (await client.reply()).status == 400
    assert await client.rest() == b""


async def test_a_client_that_sends_nothing_or_never_ends_its_headers_is_dropped() -> None:
    async with listening(hello, request_seconds=0.1) as address:
        for beginning in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n", GET + b"GET / HTT"):
            async with connected(address) as client:
                await client.send(beginning[: len(GET)] if beginning.startswith(GET) else beginning)
                if beginning.startswith(GET):
                    assert (await client.reply()).status == 200
                    await client.send(beginning[len(GET) :])
                assert await client.rest() == b""


async def test_an_idle_connection_outlives_the_wait_for_a_request() -> None:
    async with (
        listening(hello, request_seconds=0.1) as address,
        connected(address) as idle,
        connected(address) as silent,
    ):
        assert (await idle.ask("GET", "/")).status == 200
        assert await silent.rest() == b""  # the same wait has passed for both
        assert (await idle.ask("GET", "/")).status == 200


async def test_a_crowd_of_idle_clients_keeps_nobody_out() -> None:
    async with (
        listening(hello, max_connections=2) as address,
        connected(address) as first,
        connected(address) as second,
    ):
        assert (await first.ask("GET", "/")).status == 200
        assert (await second.ask("GET", "/")).status == 200
        async with connected(address) as third:
            assert (await third.ask("GET", "/")).status == 200
            assert (await second.ask("GET", "/")).status == 200
            assert await first.rest() == b""


async def test_a_crowd_of_idle_clients_cuts_off_no_connection_in_use() -> None:
    async with (
        listening(hello, max_connections=3) as address,
        connected(address) as verifier,
        contextlib.AsyncExitStack() as crowd,
    ):
        for _ in range(6):
            idle = await crowd.enter_async_context(connected(address))
            assert (await idle.ask("GET", "/")).status == 200
            assert (await verifier.ask("GET", "/")).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is not this machine's")
async def test_a_crowd_from_one_source_cuts_off_nobody_elsewhere() -> None:
    """127.0.0.2 and 127.0.0.1 are two machines to the listener."""
    async with (
        listening(hello, max_connections=4) as address,
        connected(address, source="127.0.0.2") as verifier,
        connected(address, source="127.0.0.3") as waiting,
        contextlib.AsyncExitStack() as crowd,
    ):
        assert (await verifier.ask("GET", "/")).status == 200
        # Each is newer than the verifier's, and has asked later.
        idle = [await crowd.enter_async_context(connected(address)) for _ in range(2)]
        for client in idle:
            assert (await client.ask("GET", "/")).status == 200
        for _ in range(8):
            late = await crowd.enter_async_context(connected(address))
            assert (await late.ask("GET", "/")).status == 200
        assert await idle[0].rest() == await idle[1].rest() == b""
        for client in (verifier, waiting):
            assert (await client.ask("GET", "/")).status == 200


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("192.0.2.1", 443), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 443, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 443, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 443, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.1", 443, 0, 0), "192.0.2.1"),
        (("nonsense", 1), ""),
        ("", ""),
        (None, ""),
    ],
)
def test_who_counts_as_one_source(peer: object, expected: str) -> None:
    assert source(peer) == expected


async def test_a_request_that_is_being_handled_is_never_cut_off() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        started.set()
        await may_end.wait()
        return json_answer(200, {"done": True})

    async with listening(slow, max_connections=1) as address, connected(address) as busy:
        await busy.send(GET)
        await started.wait()
        async with connected(address) as late:
            assert await late.rest() == b""
        may_end.set()
        assert (await busy.reply()).body == b'{"done":true}\n'
        # Once it is answered it is as idle as any.
        async with connected(address) as late:
            assert (await late.ask("GET", "/")).status == 200
        assert await busy.rest() == b""


async def test_a_taken_address_names_the_setting_and_the_remedy() -> None:
    async with listening(hello) as address:
        for setting, option in (
            ("http_address", "--http-address"),
            ("admin_http_address", "--admin-http-address"),
        ):
            with pytest.raises(SettingsError, match=f"^{setting}: cannot listen on {address}.*{option}$"):
                await listener(address, setting).start()


@pytest.mark.parametrize("address", ["203.0.113.7:8080", "a..b:8080"])
async def test_an_address_that_is_not_ours(address: str) -> None:
    with pytest.raises(SettingsError, match="http_address"):
        await listener(address).start()


async def test_ipv6_and_host_names() -> None:
    for host in ("localhost", "[::1]"):
        if host == "[::1]" and not ipv6_works():
            pytest.skip("this machine has no IPv6 loopback")
        served = listener(f"{host}:0")
        address = await served.start()
        assert address.startswith(f"{host}:")
        assert address != f"{host}:0"
        async with connected(address) as client:
            assert (await client.ask("GET", "/")).status == 200
        await served.stop(1.0)


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_stop_lets_requests_in_flight_end_and_frees_the_port() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        started.set()
        await may_end.wait()
        return json_answer(200, {"done": True})

    served = HttpListener("http_address", "127.0.0.1:0", slow, Recorder())
    address = await served.start()
    async with connected(address) as idle, connected(address) as busy:
        await busy.send(GET)
        await started.wait()
        stop = asyncio.create_task(served.stop(5.0))
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address.rsplit(":", 1))
        assert not stop.done()
        may_end.set()
        assert (await busy.reply()).body == b'{"done":true}\n'
        await stop
        assert await busy.rest() == b""
    again = listener(address)
    assert await again.start() == address
    await again.stop(0.0)
    await again.stop(0.0)


async def test_a_stop_ends_though_a_request_does_not() -> None:
    started = asyncio.Event()

    async def stuck(request: web.BaseRequest) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    served = HttpListener("http_address", "127.0.0.1:0", stuck, Recorder())
    async with connected(await served.start()) as client:
        await client.send(GET)
        await started.wait()
        async with asyncio.timeout(2.0):
            await served.stop(0.1)
        assert await client.rest() == b""


async def test_a_stop_ends_though_a_client_does_not_read() -> None:
    body = b"x" * 30_000_000
    started = asyncio.Event()

    async def large(request: web.BaseRequest) -> web.Response:
        started.set()
        return web.Response(body=body)

    served = HttpListener("http_address", "127.0.0.1:0", large, Recorder())
    async with connected(await served.start()) as client:
        await client.send(GET)
        await started.wait()
        async with asyncio.timeout(2.0):
            await served.stop(0.1)
        assert 0 < len(await client.rest()) < len(body)
