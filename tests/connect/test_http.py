"""HTTP on real sockets: what is refused, one request at a time, and connections that stay."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.connect import http
from tests.connect.running import Client, Running, running
from tests.rpc.running import ISSUE, PATIENCE, RUN, integers

BODY = json.dumps({"subject": "alice"}).encode()
TYPE = b"content-type: application/json\r\n"


def head(length: int | str = len(BODY), extra: bytes = b"", path: str = ISSUE) -> bytes:
    return (
        f"POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n".encode() + TYPE + extra + b"\r\n"
    )


async def sent(there: Running, data: bytes) -> Client:
    client = await there.client()
    client.writer.write(data)
    return client


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (head("3", b"transfer-encoding: chunked\r\n") + BODY, 400),
        (head("-1"), 400),
        (head("3, 4"), 400),
        (head().replace(b"content-length", b"content-length ") + BODY, 400),
        (b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (head(extra=b"x: " + b"a" * 20_000 + b"\r\n") + BODY, 431),
        (head(extra=b"x: y\r\n" * 100) + BODY, 431),
        (b"POST / HTTP/1.1\r\nx: " + b"a" * 20_000, 431),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_ends(data: bytes, status: int) -> None:
    async with running() as there:
        answer = await (await sent(there, data)).answer()
        assert (answer.status, answer.body, answer.closed) == (status, b"", True)


async def test_a_body_in_chunks_and_in_single_bytes_is_the_same_body() -> None:
    chunked = head().replace(f"content-length: {len(BODY)}".encode(), b"transfer-encoding: chunked")
    parts = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nauthorization: Bearer late\r\n\r\n"
    async with running() as there:
        client = await sent(there, chunked + parts)
        assert (await client.answer()).status == 200
        for byte in head() + BODY:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer()).status == 200


async def test_chunks_beyond_the_limit_are_refused_at_once() -> None:
    chunked = head().replace(f"content-length: {len(BODY)}".encode(), b"transfer-encoding: chunked")
    async with running() as there:
        client = await sent(there, chunked + b"30000\r\n" + b" " * 0x30000)
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.closed) == (400, "INVALID_FIELD", True)


async def test_a_body_is_asked_for_only_when_it_is_wanted() -> None:
    async with running() as there:
        client = await sent(there, head(extra=b"expect: 100-continue\r\n"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(BODY)
        assert (await client.answer()).status == 200
        client = await sent(there, head(10**9, b"expect: 100-continue\r\n"))
        assert (await client.answer()).status == 400


async def test_a_second_request_before_the_first_answer_is_not_taken() -> None:
    async with running() as there:
        client = await sent(there, (head() + BODY) * 3)
        assert (await client.answer()).closed


async def test_bytes_that_come_during_a_call_end_the_connection_after_it() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        query = json.dumps({"sql": "select 1", "scope": {"principal": {"subject": "a"}}}).encode()
        client = await sent(there, head(len(query), path=RUN) + query)
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        client.writer.write(head() + BODY)
        await client.writer.drain()
        await asyncio.sleep(0.05)
        there.parts.backend.released.set()
        head_bytes = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b"200 OK" in head_bytes
        assert b"connection: close" in head_bytes


@pytest.mark.parametrize(
    ("version", "extra", "closed"),
    [("1.1", b"", False), ("1.1", b"connection: close\r\n", True), ("1.0", b"", True)],
)
async def test_a_connection_stays_as_the_client_wants_it(version: str, extra: bytes, closed: bool) -> None:
    async with running() as there:
        client = await sent(there, head(extra=extra).replace(b"HTTP/1.1", f"HTTP/{version}".encode()) + BODY)
        assert (await client.answer()).closed is closed


async def test_an_upgrade_is_not_made() -> None:
    async with running() as there:
        client = await sent(there, head(extra=b"connection: upgrade\r\nupgrade: h2c\r\n") + BODY)
        assert (await client.answer()).status in (200, 400)


async def test_a_client_that_does_not_go_on_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    async with running() as there:
        for data in (b"", b"POST /", head() + BODY[:3]):
            client = await sent(there, data)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(client.reader.readexactly(1), PATIENCE)


async def test_an_idle_connection_is_dropped_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.05)
    async with running() as there:
        client = await sent(there, head() + BODY)
        assert (await client.answer()).status == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(client.reader.readexactly(1), PATIENCE)


async def test_whoever_takes_no_answer_gets_no_further_request_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    async with running(max_message_bytes=64 * 2**20) as there:
        there.parts.backend.result = integers(*range(2**61, 2**61 + 2_000_000))
        query = json.dumps({"sql": "select 1", "scope": {"principal": {"subject": "a"}}}).encode()
        client = await there.client()
        client.writer.transport.pause_reading()
        proto = head(len(query), path=RUN) + query
        client.writer.write(proto)
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        await asyncio.wait_for(_gone(there), PATIENCE)


async def _gone(there: Running) -> None:
    while there.listener._all:  # noqa: ASYNC110 - it has no event of its own
        await asyncio.sleep(0.01)
