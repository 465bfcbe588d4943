"""Scoped queries: limits are filled in before the backend is asked, and every end is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import QueryFinished
from sidecar.core.issuer import Scope
from sidecar.core.policy import Grant
from sidecar.core.queries import Deliver, QueryRequest, QuerySettings, ScopedQueries, SeenIdentity, Statement
from sidecar.core.statements import Catalog, NamedColumn, NamedStatement
from sidecar.core.values import NULL, ResultSet
from tests.fakes import FakeClock, Recorder

Sealed = TypeVar("Sealed")
SCOPE = Scope(subject="alice", payload={"sub": "alice"})
RESULT = ResultSet(columns=(), data=(), row_count=2, truncated=True, command_tag="SELECT 2", affected_rows=2)


class CountingBackend:
    """Answers every statement with the same result, after half a second of the clock."""

    kind = "counting"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.failure: BaseException | None = None
        self.statements: list[Statement] = []

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        self.statements.append(statement)
        await self._clock.sleep(0.5)
        if self.failure is not None:
            raise self.failure
        return seal(RESULT), RESULT

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        raise NotImplementedError

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        return SeenIdentity(
            role="r",
            login_role="l",
            user_id=scope.subject,
            session=None,
            claims_age=None,
            row_security_applies=True,
            database="d",
            server_version=180_004,
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> CountingBackend:
    return CountingBackend(clock)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def queries(backend: CountingBackend, clock: FakeClock, seen: Recorder) -> ScopedQueries:
    return ScopedQueries(backend, QuerySettings(), clock, seen)


async def finish(clock: FakeClock, running: asyncio.Task[Any]) -> None:
    await clock.advance(0.5)
    await asyncio.wait([running])


async def test_a_result_is_sealed_and_counted(
    queries: ScopedQueries, clock: FakeClock, seen: Recorder
) -> None:
    request = QueryRequest(sql="select 1")
    running = asyncio.create_task(queries.run(SCOPE, request, lambda result: result.command_tag))
    await finish(clock, running)
    assert running.result() == "SELECT 2"
    assert seen.events == [
        QueryFinished(backend="counting", outcome="ok", rows=2, truncated=True, database_seconds=0.5)
    ]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (UsherError(Reason.UNIQUE_VIOLATION, "a row is there"), "UNIQUE_VIOLATION"),
        (RuntimeError("a fault"), "INTERNAL"),
        (asyncio.CancelledError(), "DEADLINE_EXCEEDED"),
    ],
)
async def test_every_end_is_counted(
    queries: ScopedQueries,
    backend: CountingBackend,
    clock: FakeClock,
    seen: Recorder,
    failure: BaseException,
    outcome: str,
) -> None:
    backend.failure = failure
    running = asyncio.create_task(queries.run(SCOPE, QueryRequest(sql="select 1"), lambda result: None))
    await finish(clock, running)
    assert running.cancelled() or running.exception() is failure
    assert [event.outcome for event in seen.of(QueryFinished)] == [outcome]


def test_a_grant_tightens_every_limit(queries: ScopedQueries) -> None:
    grant = Grant(read_only=True, max_rows=7, statement_timeout=2.0)
    statement = queries.statement(QueryRequest(sql="select 1"), grant)
    assert (statement.read_only, statement.max_rows, statement.timeout) == (True, 7, 2.0)
    for above in (
        QueryRequest(sql="select 1", max_rows=8),
        QueryRequest(sql="select 1", statement_timeout=2.1),
    ):
        with pytest.raises(UsherError):
            queries.statement(above, grant)
    wide = Grant(max_rows=10**6, statement_timeout=10**6)
    assert queries.statement(QueryRequest(sql="select 1"), wide) == queries.statement(
        QueryRequest(sql="select 1")
    )


def test_a_named_statement_takes_the_place_of_sql(backend: CountingBackend, clock: FakeClock) -> None:
    named = NamedStatement(
        name="one", sql="select $1::int4", params=(NamedColumn("x", "int4"),), read_only=True
    )
    queries = ScopedQueries(backend, QuerySettings(), clock, Recorder(), Catalog([named]))
    statement = queries.statement(QueryRequest(name="one", parameters=(NULL,)))
    assert (statement.sql, statement.verb, statement.read_only) == (named.sql, "SELECT", True)
    for request, reason in (
        (QueryRequest(name="one"), Reason.PARAMETER_COUNT),
        (QueryRequest(name="one", sql="select 1", parameters=(NULL,)), Reason.INVALID_FIELD),
        (QueryRequest(name="two"), Reason.NAMED_STATEMENT_UNKNOWN),
        (QueryRequest(), Reason.SQL_EMPTY),
    ):
        with pytest.raises(UsherError) as caught:
            queries.statement(request)
        assert caught.value.reason is reason


def test_defaults_are_filled_in(queries: ScopedQueries) -> None:
    statement = queries.statement(QueryRequest(sql="update t set a = 1", read_only=True))
    assert statement == Statement(
        sql="update t set a = 1", verb="UPDATE", parameters=(), read_only=True, timeout=30.0, max_rows=1000
    )


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"sql": ""}, Reason.SQL_EMPTY, "sql"),
        ({"sql": "x" * 300_000}, Reason.SQL_TOO_LARGE, "sql"),
        ({"sql": "commit"}, Reason.STATEMENT_NOT_ALLOWED, "sql"),
        ({"statement_timeout": 0.0}, Reason.INVALID_FIELD, "options.statement_timeout"),
        ({"statement_timeout": 30.1}, Reason.INVALID_FIELD, "options.statement_timeout"),
        ({"max_rows": 0}, Reason.INVALID_FIELD, "options.max_rows"),
        ({"max_rows": 10_001}, Reason.INVALID_FIELD, "options.max_rows"),
    ],
)
def test_what_is_refused_names_its_field(
    queries: ScopedQueries, changes: dict[str, Any], reason: Reason, field: str
) -> None:
    with pytest.raises(UsherError) as caught:
        queries.statement(QueryRequest(**({"sql": "select 1"} | changes)))
    assert caught.value.reason is reason
    assert caught.value.metadata["field"] == field


async def test_a_refused_statement_never_reaches_the_backend(
    queries: ScopedQueries, backend: CountingBackend
) -> None:
    with pytest.raises(UsherError):
        await queries.run(SCOPE, QueryRequest(sql="drop table users"), lambda result: None)
    assert backend.statements == []


async def test_who_am_i(queries: ScopedQueries) -> None:
    assert (await queries.who_am_i(SCOPE)).user_id == "alice"
    assert queries.backend_kind == "counting"


@pytest.mark.parametrize(
    "changes",
    [
        {"statement_timeout": 0.0},
        {"statement_timeout": 3601.0},
        {"default_max_rows": 0},
        {"default_max_rows": 20_000},
        {"max_sql_bytes": 0},
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        QuerySettings(**changes).validate()
