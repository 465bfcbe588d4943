"""What surrounds every call: deadlines, cancellation, faults, request ids, and one event for each end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio
import pytest
from usher.v1 import query_service_pb2 as pb
from usher.v1 import token_service_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import QueryFinished, RpcFault, RpcFinished
from sidecar.rpc.calls import CallFactory
from sidecar.rpc.server import Handlers
from tests.rpc.running import ISSUE, PATIENCE, RUN, Running, issue, run, running, until

SECRET = "hunter2"


async def finished(there: Running) -> RpcFinished:
    """The event of the only call, which may come a moment after the caller's own deadline."""
    await until(lambda: there.seen.of(RpcFinished))
    (event,) = there.seen.of(RpcFinished)
    return event


async def test_a_call_that_succeeds_is_counted_once() -> None:
    async with running() as there:
        await there.answer(RUN, run(), pb.RunScopedQueryResponse, x_request_id="abc")
        assert there.seen.of(RpcFinished) == [
            RpcFinished(
                service="usher.v1.QueryService",
                method="RunScopedQuery",
                code="OK",
                reason="",
                blame="",
                seconds=0.0,
                request_id="abc",
                caller="anonymous",
                identity="anonymous",
            )
        ]


async def test_a_refusal_is_counted_with_its_reason_and_blame() -> None:
    async with running() as there:
        there.backend.failure = UsherError(Reason.POOL_EXHAUSTED, "no connection came free; retry")
        await there.refusal(RUN, run())
        there.seen.events, before = [], there.seen.events
        await there.refusal(RUN, run(" "))
        (database,) = [event for event in before if isinstance(event, RpcFinished)]
        (caller,) = there.seen.of(RpcFinished)
        assert (database.code, database.reason, database.blame) == (
            "RESOURCE_EXHAUSTED",
            "POOL_EXHAUSTED",
            "database",
        )
        assert (caller.code, caller.reason, caller.blame) == ("INVALID_ARGUMENT", "SQL_EMPTY", "caller")


async def test_the_time_of_a_call_is_measured_by_the_clock() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        await there.clock.advance(2.5)
        there.backend.released.set()
        await call
        assert (await finished(there)).seconds == 2.5


@pytest.mark.parametrize("asked", [0.05, 0.2])
async def test_a_deadline_that_passes_cancels_the_statement(asked: float) -> None:
    async with running() as there:
        there.backend.released.clear()
        refused = await there.refusal(RUN, run(), timeout=asked)
        assert refused.code == "DEADLINE_EXCEEDED"
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        event = await finished(there)
        assert (event.code, event.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert [query.outcome for query in there.seen.of(QueryFinished)] == ["DEADLINE_EXCEEDED"]


async def test_a_call_without_deadline_gets_the_servers_default() -> None:
    async with running(default_deadline=0.05) as there:
        there.backend.released.clear()
        refused = await there.refusal(RUN, run(), timeout=None)
        assert (refused.code, refused.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert there.backend.cancelled.is_set()


async def test_a_longer_deadline_than_the_default_is_honoured() -> None:
    async with running(default_deadline=0.01) as there:
        there.backend.released.clear()
        call = there.start(RUN, run(), timeout=PATIENCE)
        await there.backend.started.wait()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(there.backend.cancelled.wait(), 0.1)
        there.backend.released.set()
        await call


async def test_a_caller_that_cancels_cancels_the_statement() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        call.cancel()
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        event = await finished(there)
        assert (event.code, event.reason, event.blame) == ("CANCELLED", "", "")


async def test_a_caller_that_gives_up_at_its_deadline_has_not_cancelled() -> None:
    """A caller's end of the wire counts first: its cancellation may come before our own deadline."""
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run(), timeout=0.09)
        await there.backend.started.wait()
        call.cancel()
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)
        event = await finished(there)
        assert (event.code, event.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_a_caller_that_vanishes_cancels_the_statement() -> None:
    async with running() as there:
        there.backend.released.clear()
        there.start(RUN, run(), timeout=None)
        await there.backend.started.wait()
        await there.channel.close()
        await asyncio.wait_for(there.backend.cancelled.wait(), PATIENCE)


async def test_a_fault_of_ours_tells_the_caller_nothing_but_where_to_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault = RuntimeError(f"the password is {SECRET}")
    async with running() as there:
        there.backend.failure = fault
        with caplog.at_level(logging.DEBUG):
            refused = await there.refusal(RUN, run(), x_request_id="find-me")
        assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")
        assert refused.metadata == {"request_id": "find-me"}
        assert SECRET not in repr(refused)
        assert SECRET not in caplog.text
        assert there.seen.of(RpcFault) == [
            RpcFault(method="usher.v1.QueryService/RunScopedQuery", request_id="find-me", error=fault)
        ]
        assert (await finished(there)).blame == "service"


async def test_a_timeout_inside_is_a_fault_and_no_deadline() -> None:
    async with running() as there:
        there.backend.failure = TimeoutError()
        refused = await there.refusal(RUN, run())
        assert refused.code == "INTERNAL"
        assert len(there.seen.of(RpcFault)) == 1


@pytest.mark.parametrize("plain", ["a", "A-b_c.9", "x" * 64])
async def test_a_plain_request_id_is_taken_over(plain: str) -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run(" "), x_request_id=plain)
        assert refused.metadata["request_id"] == plain


@pytest.mark.parametrize("hostile", ["", "x" * 65, "a b", "a/b", 'a"', "${jndi}"])
async def test_any_other_request_id_is_replaced(hostile: str) -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run(" "), x_request_id=hostile)
        given = refused.metadata["request_id"]
        assert given != hostile
        assert len(given) == 32
        assert there.seen.of(RpcFinished)[0].request_id == given


async def test_two_calls_without_an_id_get_different_ones() -> None:
    async with running() as there:
        ids = {(await there.refusal(RUN, run(" "))).metadata["request_id"] for _ in range(5)}
        assert len(ids) == 5


async def test_new_calls_are_refused_while_those_running_end() -> None:
    async with running() as there:
        there.backend.released.clear()
        call = there.start(RUN, run())
        await there.backend.started.wait()
        there.calls.refuse_new()
        refused = await there.refusal(ISSUE, issue())
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        assert refused.retry_after == 1.0
        there.backend.released.set()
        assert pb.RunScopedQueryResponse.FromString(await call).row_count == 3


async def test_calls_run_side_by_side() -> None:
    async with running() as there:
        there.backend.released.clear()
        waiting = [asyncio.ensure_future(_awaited(there.start(RUN, run()))) for _ in range(20)]
        await there.answer(ISSUE, issue(), token_service_pb2.IssueTokenResponse)
        await until(lambda: len(there.backend.statements) == 20)
        there.backend.released.set()
        assert len(await asyncio.gather(*waiting)) == 20


async def test_a_method_that_never_waits_is_not_cut_short() -> None:
    """Its deadline may pass while it computes; the work is done then, and the answer is sent."""

    async def empty(request: Any, caller: Any) -> bytes:
        return b""

    def replaced(every: Handlers, calls: CallFactory) -> Handlers:
        service = "usher.v1.TokenService"
        handler = calls.unary(service, "IssueToken", token_service_pb2.IssueTokenRequest, empty)
        return {**every, service: {**every[service], "IssueToken": handler}}

    async with running(default_deadline=1e-9, change=replaced) as there:
        assert await there.start(ISSUE, issue(), timeout=None) == b""


async def _awaited(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> bytes:
    return await call


async def test_more_calls_than_are_admitted_are_refused_and_later_ones_are_not() -> None:
    async with running() as there:
        there.calls._admission._most = 1
        there.backend.released.clear()
        held = there.start(RUN, run())
        await asyncio.wait_for(there.backend.started.wait(), PATIENCE)
        refused = await there.refusal(RUN, run())
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        there.backend.released.set()
        await held
        await there.start(RUN, run())


async def test_a_deadline_is_capped() -> None:
    async with running(default_deadline=0.01, max_deadline=0.05) as there:
        there.backend.released.clear()
        assert (await there.refusal(RUN, run(), timeout=30)).code == "DEADLINE_EXCEEDED"


async def test_it_is_idle_when_the_last_call_has_ended() -> None:
    async with running() as there:
        await there.calls.until_idle(PATIENCE)
        there.backend.released.clear()
        held = there.start(RUN, run())
        await asyncio.wait_for(there.backend.started.wait(), PATIENCE)
        waiting = asyncio.ensure_future(there.calls.until_idle(PATIENCE))
        await asyncio.sleep(0)
        assert not waiting.done()
        there.backend.released.set()
        await held
        await waiting
        await there.calls.until_idle(0)
