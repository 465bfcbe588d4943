"""Streams over real sockets: envelopes, the end, errors in the middle, back-pressure, and who leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from usher.v1 import query_service_pb2 as pb

from sidecar.connect.opening import Fault
from sidecar.connect.streaming import enveloped, message_in
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import RpcFault, RpcFinished
from sidecar.services.status import Code
from tests.connect.running import Client, Running, running
from tests.rpc.running import ISSUE, MIB, PATIENCE, STREAM, integers, issue, stream, until

PROTO, JSON = "application/connect+proto", "application/connect+json"
QUERY = {"sql": "select 1", "scope": {"principal": {"subject": "alice"}}}


async def send(client: Client, body: bytes | Message | Mapping[str, Any], **headers: str) -> None:
    """A request for a stream: a message as protobuf, a mapping as JSON, bytes as they are."""
    if isinstance(body, Message):
        data = enveloped(body.SerializeToString())
    else:
        data = body if isinstance(body, bytes) else enveloped(json.dumps(body).encode())
    given = {"content-type": PROTO if isinstance(body, Message) else JSON}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    await client.send(f"/{STREAM}", data, headers=given.items())


async def head(client: Client) -> dict[str, str]:
    """The header fields of a response whose status is 200."""
    text = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = text.rstrip().split("\r\n")
    assert first == "HTTP/1.1 200 OK"
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def part(client: Client) -> bytes:
    """The next part of a chunked body (RFC 9112 section 7.1)."""
    size = int(await client.reader.readuntil(b"\r\n"), 16)
    data = await client.reader.readexactly(size)
    assert await client.reader.readexactly(2) == b"\r\n"
    return data


async def body(client: Client) -> tuple[list[bytes], dict[str, Any]]:
    """The messages of a response, and what its end says."""
    whole = b""
    while data := await part(client):
        whole += data
    messages = []
    while whole:
        flags, size = struct.unpack_from("!BI", whole)
        message, whole = whole[5 : 5 + size], whole[5 + size :]
        if flags == 2:
            assert whole == b"", "nothing comes after the end"
            return messages, json.loads(message)
        assert flags == 0
        messages.append(message)
    raise AssertionError("it has no end")


async def called(there: Running, request: Any, **headers: str) -> tuple[list[bytes], dict[str, Any]]:
    """A whole stream."""
    client = await there.client()
    async with asyncio.timeout(PATIENCE):
        await send(client, request, **headers)
        await head(client)
        return await body(client)


def reason(end: dict[str, Any]) -> str:
    """The reason of an error, from its details."""
    (info,) = (d for d in end["error"]["details"] if d["type"] == "google.rpc.ErrorInfo")
    packed = base64.b64decode(info["value"] + "=" * (-len(info["value"]) % 4))
    return error_details_pb2.ErrorInfo.FromString(packed).reason


async def test_a_stream_in_protobuf_is_that_of_grpc() -> None:
    async with running() as there:
        messages, end = await called(there, stream())
        columns, rows, summary = map(pb.StreamScopedQueryResponse.FromString, messages)
        assert [column.name for column in columns.columns] == ["id"]
        assert list(rows.data[0].ints) == [1, 2, 3]
        assert summary.summary.command_tag == "SELECT 3"
        assert end == {}
        (event,) = there.parts.seen.of(RpcFinished)
        assert (event.method, event.code) == ("StreamScopedQuery", "OK")


async def test_a_stream_in_json_is_answered_in_json() -> None:
    async with running() as there:
        messages, end = await called(there, QUERY)
        columns, rows, summary = map(json.loads, messages)
        assert columns["columns"][0]["name"] == "id"
        assert rows == {"data": [{"ints": ["1", "2", "3"]}], "rowCount": 3}
        assert summary == {"summary": {"rowCount": "3", "commandTag": "SELECT 3"}}
        assert end == {}


async def test_calls_of_all_forms_share_a_connection() -> None:
    async with running() as there:
        client = await there.client()
        for request, kind in ((stream(), PROTO), (QUERY, JSON)) * 3:
            await send(client, request)
            fields = await head(client)
            assert (fields["content-type"], fields["transfer-encoding"]) == (kind, "chunked")
            assert "content-length" not in fields
            assert len((await body(client))[0]) == 3
            assert (await client.call(ISSUE, issue())).status == 200


async def test_an_error_after_rows_is_in_the_end() -> None:
    async with running() as there:
        there.parts.backend.failure = UsherError(Reason.DATA_EXCEPTION, "a value")
        messages, end = await called(there, QUERY, x_request_id="find-me")
        assert len(messages) == 2
        assert (end["error"]["code"], end["error"]["message"]) == ("invalid_argument", "a value")
        assert reason(end) == "DATA_EXCEPTION"
        assert end["error"]["details"][0]["debug"]["metadata"]["request_id"] == "find-me"


async def test_a_fault_of_ours_says_nothing_of_itself() -> None:
    async with running() as there:
        there.parts.backend.failure = RuntimeError("a secret")
        _, end = await called(there, QUERY)
        assert reason(end) == "INTERNAL"
        assert "secret" not in json.dumps(end)


@pytest.mark.parametrize(
    ("request_", "headers", "code"),
    [
        (b"", {}, "unimplemented"),
        (enveloped(b"{}") * 2, {}, "unimplemented"),
        (enveloped(b"{}")[:-1], {}, "unimplemented"),
        (b"\1" + enveloped(b"{}")[1:], {}, "internal"),
        (enveloped(b"{"), {}, "invalid_argument"),
        ({**QUERY, "sql": "x" * 100_000}, {}, "invalid_argument"),
        ({**QUERY, "sql": " "}, {}, "invalid_argument"),
        ({**QUERY, "options": {"readonly_": True}}, {}, "invalid_argument"),
        (QUERY, {"connect_content_encoding": "gzip"}, "unimplemented"),
        (QUERY, {"connect_protocol_version": "2"}, "invalid_argument"),
        (QUERY, {"connect_timeout_ms": "x"}, "invalid_argument"),
    ],
)
async def test_what_is_wrong_is_said_in_the_end(request_: Any, headers: dict[str, str], code: str) -> None:
    async with running(max_message_bytes=64 * 1024) as there:
        messages, end = await called(there, request_, **headers)
        assert (messages, end["error"]["code"]) == ([], code)
        assert there.parts.backend.statements == []


async def test_another_form_is_not_taken_for_a_stream() -> None:
    async with running() as there:
        for kind in ("application/json", "application/proto", "application/grpc"):
            answer = await there.call(STREAM, QUERY, content_type=kind)
            assert answer.status == 415
            assert answer.headers["accept-post"] == "application/connect+json, application/connect+proto"
        assert (await there.call(ISSUE, b"{}", content_type=JSON)).status == 415


async def test_http_of_before_has_no_streams() -> None:
    async with running() as there:
        client = await there.client()
        data = enveloped(json.dumps(QUERY).encode())
        lines = f"POST /{STREAM} HTTP/1.0\r\ncontent-type: {JSON}\r\ncontent-length: {len(data)}\r\n\r\n"
        client.writer.write(lines.encode() + data)
        assert (await client.answer()).status == 505
        assert there.parts.backend.statements == []


async def test_a_deadline_ends_a_stream() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        messages, end = await called(there, QUERY, connect_timeout_ms="100")
        assert (len(messages), end["error"]["code"]) == (2, "deadline_exceeded")
        assert there.parts.backend.cancelled.is_set()


@pytest.mark.parametrize("read", [True, False])
async def test_a_client_that_leaves_cancels_its_statement(read: bool) -> None:
    async with running() as there:
        there.parts.backend.endless = True
        client = await there.client()
        await send(client, stream())
        if read:
            await head(client)
        await there.parts.backend.started.wait()
        client.writer.transport.abort()
        await asyncio.wait_for(there.parts.backend.cancelled.wait(), PATIENCE)
        await asyncio.wait_for(there.calls.until_idle(PATIENCE), PATIENCE)
        (event,) = there.parts.seen.of(RpcFinished)
        assert event.code == "CANCELLED"
        assert there.parts.seen.of(RpcFault) == []


async def test_a_client_that_reads_nothing_holds_the_backend_up() -> None:
    async with running() as there:
        backend = there.parts.backend
        backend.endless = True
        backend.result = integers(*range(2**40, 2**40 + 20_000))
        client = await there.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await send(client, stream())
        await backend.started.wait()
        before = -1
        while backend.delivered != before:
            before = backend.delivered
            await asyncio.sleep(0.2)
        # What the sockets hold on both sides.
        assert before * 128 * 1024 < 16 * MIB
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        await head(client)
        for _ in range(before + 20):
            await part(client)
        await until(lambda: backend.delivered > before)


async def test_a_stop_drops_a_stream_that_does_not_end() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        client = await there.client()
        await send(client, stream())
        await head(client)
        await there.parts.backend.started.wait()
        await there.listener.stop(0.05)
        with pytest.raises((AssertionError, asyncio.IncompleteReadError, ConnectionError)):
            await body(client)
        await asyncio.wait_for(there.parts.backend.cancelled.wait(), PATIENCE)


@given(st.binary(max_size=40))
def test_any_bytes_are_one_message_or_a_fault(data: bytes) -> None:
    found = message_in(data)
    assert isinstance(found, Fault) or enveloped(found) == data
    assert message_in(enveloped(data)) == data


def test_a_compressed_message_is_told_apart() -> None:
    assert message_in(b"\1\0\0\0\1x") == Fault(
        code=Code.INTERNAL, message="the message is said to be compressed, but not how"
    )
