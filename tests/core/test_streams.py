"""Streams: their limits, how many there may be, how long a caller may take, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import QueryFinished
from sidecar.core.issuer import Scope
from sidecar.core.policy import Grant
from sidecar.core.queries import Deliver, QueryRequest, QuerySettings, Statement
from sidecar.core.statements import Catalog, NamedStatement
from sidecar.core.streams import ScopedStreams, StreamSettings
from sidecar.core.values import Column, Kind, Rows, StreamEnd
from tests.core.test_queries import SCOPE, CountingBackend
from tests.fakes import FakeClock, Recorder

COLUMNS = (Column(name="n", type_name="int8", type_oid=20, kind=Kind.INT),)
CHUNK = Rows(columns=COLUMNS, data=([1, 2, 3],), row_count=3)
REQUEST = QueryRequest(sql="select 1")


class ChunksBackend(CountingBackend):
    """Streams two chunks, each after half a second of the clock, then the end or the failure."""

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        self.statements.append(statement)
        await deliver(COLUMNS)
        for _ in range(2):
            await self._clock.sleep(0.5)
            await deliver(CHUNK)
        if self.failure is not None:
            raise self.failure
        await deliver(StreamEnd(row_count=6, truncated=True, command_tag="SELECT 6"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> ChunksBackend:
    return ChunksBackend(clock)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def streams(backend: ChunksBackend, seen: Recorder, **settings: Any) -> ScopedStreams:
    catalog = Catalog([NamedStatement(name="one", sql="select 1")])
    return ScopedStreams(backend, QuerySettings(), StreamSettings(**settings), backend._clock, seen, catalog)


async def taken(part: object) -> int:
    return 10


async def advanced(clock: FakeClock, task: asyncio.Task[Any]) -> None:
    while not task.done():
        await clock.advance(0.5)


def slowly(clock: FakeClock, seconds: float) -> Callable[[object], Awaitable[int]]:
    """A caller who takes so long for each part."""

    async def deliver(part: object) -> int:
        await clock.sleep(seconds)
        return 10

    return deliver


@pytest.mark.parametrize("caller_seconds", [0.0, 7.0])
async def test_a_stream_is_counted_once_without_the_time_that_its_caller_took(
    backend: ChunksBackend, clock: FakeClock, seen: Recorder, caller_seconds: float
) -> None:
    deliver = slowly(clock, caller_seconds)
    running = asyncio.create_task(streams(backend, seen).run(SCOPE, REQUEST, deliver))
    await advanced(clock, running)
    assert running.exception() is None
    assert seen.events == [
        QueryFinished(backend="counting", outcome="ok", rows=6, truncated=True, database_seconds=1.0)
    ]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (UsherError(Reason.DATA_EXCEPTION, "a value"), "DATA_EXCEPTION"),
        (RuntimeError("a fault"), "INTERNAL"),
        (asyncio.CancelledError(), "DEADLINE_EXCEEDED"),
    ],
)
async def test_one_that_fails_is_counted_with_the_rows_before(
    backend: ChunksBackend, clock: FakeClock, seen: Recorder, failure: BaseException, outcome: str
) -> None:
    backend.failure = failure
    running = asyncio.create_task(streams(backend, seen).run(SCOPE, REQUEST, taken))
    await advanced(clock, running)
    assert running.cancelled() or running.exception() is failure
    assert [(event.outcome, event.rows) for event in seen.of(QueryFinished)] == [(outcome, 6)]


async def test_one_too_many_is_refused_and_a_later_one_is_not(
    backend: ChunksBackend, clock: FakeClock, seen: Recorder
) -> None:
    there = streams(backend, seen, max_streams=2)
    for _ in range(2):
        running = [asyncio.create_task(there.run(SCOPE, REQUEST, taken)) for _ in range(2)]
        await clock.settle()
        with pytest.raises(UsherError) as refused:
            await there.run(SCOPE, REQUEST, taken)
        assert (refused.value.reason, refused.value.metadata) == (Reason.TOO_MANY_CALLS, {"limit": "2"})
        running[0].cancel()
        await advanced(clock, running[1])
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize(
    ("settings", "changes", "grant", "limit"),
    [
        ({}, {}, Grant(), 2**62),
        ({}, {"max_rows": 10**9}, Grant(), 10**9),
        ({"max_rows": 500_000}, {}, Grant(), 500_000),
        ({"max_rows": 500_000}, {}, Grant(max_rows=7), 7),
        ({}, {}, Grant(max_rows=7), 7),
        ({}, {"max_rows": 6}, Grant(max_rows=7), 6),
    ],
)
async def test_the_limit_of_rows_is_the_least_of_all(
    backend: ChunksBackend,
    clock: FakeClock,
    seen: Recorder,
    settings: dict[str, int],
    changes: dict[str, Any],
    grant: Grant,
    limit: int,
) -> None:
    request = QueryRequest(sql="select 1", **changes)
    await advanced(
        clock, asyncio.create_task(streams(backend, seen, **settings).run(SCOPE, request, taken, grant))
    )
    (statement,) = backend.statements
    assert (statement.max_rows, statement.read_only, statement.timeout) == (limit, True, 30.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sql": "insert into t values (1)"}, Reason.READ_ONLY),
        ({"sql": "commit"}, Reason.STATEMENT_NOT_ALLOWED),
        ({"sql": "close usher_result"}, Reason.STATEMENT_NOT_ALLOWED),
        ({"sql": "move all in usher_result"}, Reason.STATEMENT_NOT_ALLOWED),
        ({"sql": "fetch all in usher_result"}, Reason.STATEMENT_NOT_ALLOWED),
        ({"max_rows": 101}, Reason.INVALID_FIELD),
        ({"statement_timeout": 31.0}, Reason.INVALID_FIELD),
        ({"sql": "", "name": "two"}, Reason.NAMED_STATEMENT_UNKNOWN),
    ],
)
async def test_what_is_refused_never_reaches_the_backend(
    backend: ChunksBackend, seen: Recorder, changes: dict[str, Any], reason: Reason
) -> None:
    request = QueryRequest(**({"sql": "select 1"} | changes))
    with pytest.raises(UsherError) as refused:
        await streams(backend, seen, max_rows=100).run(SCOPE, request, taken)
    assert refused.value.reason is reason
    assert backend.statements == []


async def test_a_statement_that_turns_out_to_write_is_told_where_to_go(
    backend: ChunksBackend, clock: FakeClock, seen: Recorder
) -> None:
    backend.failure = UsherError(Reason.READ_ONLY, "options.read_only is set", {"sqlstate": "25006"})
    running = asyncio.create_task(streams(backend, seen).run(SCOPE, REQUEST, taken))
    await advanced(clock, running)
    refused = running.exception()
    assert isinstance(refused, UsherError)
    assert (refused.reason, refused.metadata) == (Reason.READ_ONLY, {"sqlstate": "25006"})
    assert "RunScopedQuery" in refused.message


async def test_a_caller_that_takes_nothing_is_given_up(
    backend: ChunksBackend, clock: FakeClock, seen: Recorder
) -> None:
    async def never(part: object) -> int:
        if isinstance(part, Rows):
            await asyncio.Event().wait()
        return 10

    running = asyncio.create_task(streams(backend, seen, longest_stall=0.05).run(SCOPE, REQUEST, never))
    await clock.settle()
    await clock.advance(0.5)
    with pytest.raises(UsherError) as refused:
        await running
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert [(event.outcome, event.rows) for event in seen.of(QueryFinished)] == [("DEADLINE_EXCEEDED", 0)]


def test_rows_in_two_halves_are_the_same_rows() -> None:
    rows = Rows(columns=COLUMNS, data=([1, 2, 3, 4, 5],), row_count=5)
    first, second = rows.halves()
    assert (first.row_count, second.row_count) == (2, 3)
    assert [*first.data[0], *second.data[0]] == [1, 2, 3, 4, 5]
