"""Streams over gRPC: messages, sizes, errors in the middle, deadlines, back-pressure, the count of calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from usher.v1 import query_service_pb2 as pb

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import QueryFinished, RpcFault, RpcFinished
from sidecar.core.streams import LARGEST_CHUNK_BYTES
from sidecar.core.values import Column, Kind, Rows, StreamEnd
from sidecar.services.streams import delivery
from tests.rpc.running import (
    ID_COLUMN,
    ISSUE,
    MIB,
    PATIENCE,
    RUN,
    STREAM,
    Running,
    integers,
    issue,
    principal,
    refused,
    run,
    running,
    stream,
    until,
)
from tests.rpc.test_policy import CATALOG, RULES, rule_of, served

TEXT_COLUMN = Column(name="text", type_name="text", type_oid=25, kind=Kind.TEXT)


async def messages(there: Running, **options: Any) -> list[pb.StreamScopedQueryResponse]:
    return [message async for message in there.stream(stream(**options))]


async def refusal(there: Running, request: pb.StreamScopedQueryRequest, **options: Any) -> tuple[int, Any]:
    """How many messages come, and the status then."""
    count = 0
    try:
        async for _ in there.stream(request, **options):
            count += 1
    except grpc.aio.AioRpcError as error:
        return count, refused(error)
    raise AssertionError("it was not refused")


async def test_columns_come_first_then_rows_then_the_summary() -> None:
    async with running() as there:
        columns, rows, summary = await messages(there)
        assert [column.name for column in columns.columns] == ["id"]
        assert (columns.row_count, columns.HasField("summary")) == (0, False)
        assert (list(rows.data[0].ints), rows.row_count) == ([1, 2, 3], 3)
        assert (len(rows.columns), rows.HasField("summary")) == (0, False)
        assert summary == pb.StreamScopedQueryResponse(
            summary=pb.StreamSummary(row_count=3, command_tag="SELECT 3")
        )
        (event,) = there.seen.of(RpcFinished)
        assert (event.method, event.code, event.reason) == ("StreamScopedQuery", "OK", "")
        assert [(query.outcome, query.rows) for query in there.seen.of(QueryFinished)] == [("ok", 3)]


async def test_an_error_after_rows_is_told_as_for_a_query() -> None:
    async with running() as there:
        there.backend.failure = UsherError(Reason.DATA_EXCEPTION, "a value", {"sqlstate": "22012"})
        count, error = await refusal(there, stream(), x_request_id="find-me")
        assert (count, error.code, error.reason) == (2, "INVALID_ARGUMENT", "DATA_EXCEPTION")
        assert error.metadata == {"sqlstate": "22012", "request_id": "find-me"}
        (event,) = there.seen.of(RpcFinished)
        assert (event.code, event.reason) == ("INVALID_ARGUMENT", "DATA_EXCEPTION")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (stream(" "), "SQL_EMPTY"),
        (stream("delete from t"), "READ_ONLY"),
        (stream("commit"), "STATEMENT_NOT_ALLOWED"),
        (stream(max_rows=-1), "INVALID_FIELD"),
        (pb.StreamScopedQueryRequest(sql="select 1"), "INVALID_FIELD"),
    ],
)
async def test_a_request_that_is_wrong_is_refused_before_anything(request_: Any, reason: str) -> None:
    async with running() as there:
        count, error = await refusal(there, request_)
        assert (count, error.reason) == (0, reason)
        assert there.backend.statements == []


async def test_a_deadline_ends_a_stream() -> None:
    async with running() as there:
        there.backend.released.clear()
        count, error = await refusal(there, stream(), timeout=0.2)
        assert (count, error.code) == (2, "DEADLINE_EXCEEDED")
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        await until(lambda: there.seen.of(RpcFinished))
        assert there.seen.of(RpcFinished)[0].reason == "DEADLINE_EXCEEDED"


async def test_a_stream_may_take_longer_than_other_calls_but_not_for_ever() -> None:
    async with running(default_deadline=0.05, max_stream_deadline=0.5) as there:
        there.backend.released.clear()
        call = there.stream(stream(), timeout=None)
        assert (await call.read()).columns
        assert (await there.refusal(RUN, run(), timeout=None)).reason == "DEADLINE_EXCEEDED"
        assert not call.done()
        assert (await call.read()).row_count == 3
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert refused(caught.value).reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_caller_that_leaves_cancels_the_statement(leave: str) -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.stream(stream(), timeout=None)
        await there.backend.started.wait()
        if leave == "cancel":
            call.cancel()
        else:
            await there.channel.close()
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        await until(lambda: there.seen.of(RpcFinished))
        assert there.seen.of(RpcFinished)[0].code == "CANCELLED"


async def stuck(there: Running) -> int:
    """How much is delivered until nothing more is."""
    await there.backend.started.wait()
    before = -1
    while there.backend.delivered != before:
        before = there.backend.delivered
        await asyncio.sleep(0.2)
    return before


async def test_a_caller_that_reads_nothing_holds_the_backend_up() -> None:
    """Chunks wait in the backend, not in a queue of ours; and go on when the caller does."""
    async with running() as there:
        there.backend.endless = True
        there.backend.result = integers(*range(2**40, 2**40 + 20_000))
        call = there.stream(stream(), timeout=None)
        delivered = await stuck(there)
        # What HTTP/2 and the sockets hold on both sides.
        assert delivered * 128 * 1024 < 16 * MIB
        for _ in range(delivered + 20):
            await call.read()
        await until(lambda: there.backend.delivered > delivered)
        # And may be left while it waits.
        await stuck(there)
        call.cancel()
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        await until(lambda: there.seen.of(RpcFinished))
        assert there.seen.of(RpcFinished)[0].code == "CANCELLED"
        assert there.seen.of(RpcFault) == []


async def test_a_deadline_holds_while_the_caller_reads_nothing() -> None:
    async with running(max_stream_deadline=0.5) as there:
        there.backend.endless = True
        there.backend.result = integers(*range(2**40, 2**40 + 20_000))
        there.stream(stream(), timeout=None)
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        await until(lambda: there.seen.of(RpcFinished))
        assert there.seen.of(RpcFinished)[0].reason == "DEADLINE_EXCEEDED"
        await asyncio.wait_for(there.calls.until_idle(PATIENCE), PATIENCE)


async def test_streams_are_counted_among_the_calls() -> None:
    async with running() as there:
        there.backend.released.clear()
        held = [there.stream(stream()) for _ in range(2)]
        await until(lambda: len(there.backend.statements) == 2)
        _, error = await refusal(there, stream())
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        there.calls.refuse_new()
        _, error = await refusal(there, stream())
        assert error.reason == "SHUTTING_DOWN"
        idle = asyncio.ensure_future(there.calls.until_idle(PATIENCE))
        there.backend.released.set()
        for call in held:
            assert [message.row_count async for message in call] == [0, 3, 0]
        await idle


async def test_the_policy_knows_streams_by_their_own_name() -> None:
    queries_only = replace(RULES, methods=frozenset({"RunScopedQuery"}))
    async with served(queries_only) as there:
        assert rule_of(await there.refusal(STREAM, stream())) == "callers.orders.methods"
        await there.answer(RUN, run(), pb.RunScopedQueryResponse)
    named_only = replace(RULES, free_sql=False, statements=frozenset({"one"}))
    async with served(named_only) as there:
        assert rule_of(await there.refusal(STREAM, stream())) == "callers.orders.sql"
        stranger = await there.refusal(STREAM, stream(scope=principal("bob")))
        assert rule_of(stranger) == "callers.orders.subjects"
        request = pb.StreamScopedQueryRequest(scope=principal(), statement="one")
        assert [message.row_count async for message in there.stream(request)] == [0, 3, 0]
    few = replace(RULES, max_rows=2)
    async with served(few) as there:
        assert rule_of(await there.refusal(STREAM, stream(max_rows=3))) == "callers.orders.max_rows"
        assert await messages(there)
        assert there.backend.statements[0].max_rows == 2


def rows(*texts: str) -> Rows:
    return Rows(columns=(TEXT_COLUMN,), data=(texts,), row_count=len(texts))


async def delivered(part: Any, limit: int = 4 * MIB) -> tuple[int, list[bytes]]:
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    return await delivery(write, limit)(part), written


async def test_a_chunk_that_is_too_large_is_sent_in_parts() -> None:
    texts = [f"{number:05}" * 20 for number in range(10_000)]
    size, written = await delivered(rows(*texts))
    assert size == sum(map(len, written))
    assert LARGEST_CHUNK_BYTES / 4 < max(map(len, written)) <= LARGEST_CHUNK_BYTES
    chunks = [pb.StreamScopedQueryResponse.FromString(message) for message in written]
    assert [text for chunk in chunks for text in chunk.data[0].texts] == texts
    assert sum(chunk.row_count for chunk in chunks) == 10_000


async def test_a_row_may_be_as_large_as_a_message_and_no_larger() -> None:
    _, written = await delivered(rows("x", "y" * MIB, "z"), limit=MIB + 100)
    assert sum(pb.StreamScopedQueryResponse.FromString(message).row_count for message in written) == 3
    with pytest.raises(UsherError) as caught:
        await delivered(rows("x", "y" * MIB), limit=MIB)
    assert (caught.value.reason, caught.value.metadata["limit"]) == (Reason.RESULT_TOO_LARGE, str(MIB))
    with pytest.raises(UsherError):
        await delivered((ID_COLUMN,) * 100_000, limit=MIB)


async def test_the_end_says_what_was_cut() -> None:
    _, (message,) = await delivered(StreamEnd(row_count=2**40, truncated=True, command_tag="SELECT 5"))
    summary = pb.StreamScopedQueryResponse.FromString(message).summary
    assert (summary.row_count, summary.truncated, summary.command_tag) == (2**40, True, "SELECT 5")


async def test_other_calls_go_on_beside_streams() -> None:
    async with running() as there:
        there.backend.endless = True
        call = there.stream(stream(), timeout=None)
        await there.backend.started.wait()
        for _ in range(10):
            assert await there.start(ISSUE, issue())
        assert not call.done()


async def test_named_statements_may_be_streamed() -> None:
    async with running(catalog=CATALOG) as there:
        request = pb.StreamScopedQueryRequest(scope=principal(), statement="one")
        assert [message.row_count async for message in there.stream(request)] == [0, 3, 0]
        assert there.backend.statements[0].sql == "select 1 -- one"
