"""Who is let in and who is refused at once, by a clock that moves when told to; and on a real server."""

from __future__ import annotations

import asyncio
import functools
import threading

import grpc
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import CallsRefused, RpcFinished
from sidecar.services.access import Listener
from sidecar.services.admission import Admission
from tests.fakes import FakeClock, Recorder
from tests.rpc.running import ISSUE, LIST_KEYS, PATIENCE, RUN, VERIFY, issue, run, running, until

LONG = 60.0


def admission(clock: FakeClock, *, at_once: int = 2, most: int = 100, longest_wait: float = 5.0) -> Admission:
    return Admission(clock, Recorder(), at_once=at_once, most=most, longest_wait=longest_wait)


async def busy(clock: FakeClock, *, pace: float, longest_wait: float = 5.0, most: int = 100) -> Admission:
    """Two calls are served, and one ends every `pace` seconds."""
    calls = admission(clock, longest_wait=longest_wait, most=most)
    calls.enter(LONG)
    calls.enter(LONG)
    for _ in range(5):
        await clock.advance(pace)
        calls.leave()
        calls.enter(LONG)
    return calls


def refused(calls: Admission, remaining: float) -> UsherError:
    before = calls.inside
    with pytest.raises(UsherError) as error:
        calls.enter(remaining)
    assert calls.inside == before
    return error.value


async def test_a_call_that_would_wait_for_half_its_time_is_refused() -> None:
    calls = await busy(FakeClock(), pace=0.5)
    error = refused(calls, 0.9)
    assert (error.reason, error.metadata) == (Reason.TOO_MANY_CALLS, {"expected_wait": "0.500s"})
    calls.enter(1.1)
    # One more is before it now.
    assert refused(calls, 1.1).metadata == {"expected_wait": "1.000s"}
    calls.enter(2.1)
    calls.leave()
    calls.leave()


async def test_the_longest_wait_holds_for_whoever_has_time() -> None:
    calls = await busy(FakeClock(), pace=0.5, longest_wait=1.0)
    calls.enter(LONG)
    calls.enter(LONG)
    assert refused(calls, LONG).reason is Reason.TOO_MANY_CALLS


async def test_a_burst_that_can_be_served_in_time_is_let_in() -> None:
    calls = await busy(FakeClock(), pace=0.002, most=1000)
    for _ in range(500):
        calls.enter(15.0)
    assert calls.inside == 502


async def test_nothing_is_foreseen_before_the_first_has_ended() -> None:
    calls = admission(FakeClock())
    for _ in range(50):
        calls.enter(0.001)
    assert calls.inside == 50


async def test_where_nobody_would_wait_nobody_is_refused() -> None:
    calls = await busy(FakeClock(), pace=1000.0)
    calls.leave()
    calls.enter(0.001)


async def test_a_pace_is_forgotten_when_not_all_are_busy_for_a_while() -> None:
    clock = FakeClock()
    calls = await busy(clock, pace=10.0)
    refused(calls, LONG)
    calls.leave()
    await clock.advance(1.5)
    calls.enter(LONG)
    calls.enter(1.0)
    assert calls.inside == 3


async def test_the_pace_follows_what_is_seen() -> None:
    clock = FakeClock()
    calls = await busy(clock, pace=1.0)
    refused(calls, 1.9)
    for _ in range(100):
        await clock.advance(0.01)
        calls.leave()
        calls.enter(LONG)
    for _ in range(20):
        calls.enter(1.9)


async def test_more_than_that_are_not_in_at_a_time() -> None:
    calls = admission(FakeClock(), most=3)
    for _ in range(3):
        calls.enter(LONG)
    assert refused(calls, LONG).metadata == {"limit": "3"}
    calls.leave()
    calls.enter(LONG)


async def test_a_call_that_nobody_waits_for_any_more_is_not_served() -> None:
    calls = admission(FakeClock())
    assert refused(calls, 0.0).reason is Reason.DEADLINE_EXCEEDED


async def test_the_log_hears_of_refusals_once_a_second() -> None:
    clock, seen = FakeClock(), Recorder()
    calls = Admission(clock, seen, at_once=1, most=1, longest_wait=5.0)
    calls.enter(LONG)
    for _ in range(5):
        refused(calls, LONG)
    await clock.advance(1.0)
    refused(calls, LONG)
    refused(calls, LONG)
    assert seen.of(CallsRefused) == [CallsRefused(count=1, inside=1), CallsRefused(count=5, inside=1)]


async def test_under_overload_the_excess_is_refused_and_what_is_let_in_is_answered() -> None:
    async with running() as there:
        calls = there.calls
        # Ten are served at once, and one ends every second.
        for _ in range(10):
            calls._admission.enter(LONG)
        for _ in range(3):
            await there.clock.advance(1.0)
            calls._admission.leave()
            calls._admission.enter(LONG)
        there.backend.released.clear()
        started = [there.start(RUN, run(), timeout=PATIENCE) for _ in range(20)]
        ended: list[str] = []
        for call in started:
            call.add_done_callback(lambda _: ended.append(""))
        # They have 10 s, and half of it is time for four of them to wait.
        await until(lambda: len(ended) >= 16)
        there.backend.released.set()
        outcomes = [await _outcome(call) for call in started]
        assert outcomes.count("") == 4
        assert outcomes.count("RESOURCE_EXHAUSTED") == 16
        refusals = [event for event in there.seen.of(RpcFinished) if event.reason]
        assert {event.reason for event in refusals} == {"TOO_MANY_CALLS"}
        assert len(there.backend.statements) == 4


async def test_an_operator_is_let_in_when_nobody_else_is() -> None:
    async with running(Listener.ADMIN) as there:
        for _ in range(10):
            there.calls._admission.enter(LONG)
        for _ in range(3):
            await there.clock.advance(1000.0)
            there.calls._admission.leave()
            there.calls._admission.enter(LONG)
        await there.start(LIST_KEYS, b"")


async def test_calls_that_nobody_looks_at_have_a_bound() -> None:
    """gRPC itself cancels what is beyond; the others are served when the process has time for them.

    Tokens and health do not stand in the line of queries.
    """
    check = "grpc.health.v1.Health/Check"
    sent = [RUN] * 50 + [ISSUE, VERIFY, check]
    bodies = {RUN: run().SerializeToString(), ISSUE: issue().SerializeToString(), VERIFY: b"", check: b""}
    async with running(max_unread=8) as there:
        await there.start(ISSUE, issue())  # the loop is about to stop: the listener must be known to listen
        some_refused, ended = threading.Event(), threading.Event()
        codes: dict[int, str] = {}

        def send() -> None:
            with grpc.insecure_channel(there.listener.address) as channel:

                def done(number: int, call: grpc.Future) -> None:
                    codes[number] = call.code().name
                    if codes[number] == "CANCELLED":
                        some_refused.set()
                    if len(codes) == len(sent):
                        ended.set()

                for number, method in enumerate(sent):
                    call = channel.unary_unary(f"/{method}").future(bodies[method], timeout=PATIENCE)
                    call.add_done_callback(functools.partial(done, number))
                ended.wait(2 * PATIENCE)

        sender = threading.Thread(target=send)
        sender.start()
        assert some_refused.wait(PATIENCE)  # and so nothing else runs here meanwhile
        await asyncio.to_thread(sender.join)
        assert set(codes.values()) == {"OK", "CANCELLED", "INVALID_ARGUMENT"}
        assert [codes[number] for number in (50, 51, 52)] == ["OK", "INVALID_ARGUMENT", "OK"]
        assert len(codes) == len(sent)


async def _outcome(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return ""
