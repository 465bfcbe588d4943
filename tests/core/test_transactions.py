"""Scoped transactions: each statement passes the checks of a query before the backend is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import QueryFinished
from sidecar.core.issuer import Scope
from sidecar.core.policy import Grant
from sidecar.core.queries import QueryRequest, QuerySettings, ScopedQueries
from sidecar.core.statements import Catalog, NamedStatement
from sidecar.core.transactions import Isolation, ScopedTransactions, Transaction, TransactionRequest
from sidecar.core.values import ResultSet
from tests.core.test_queries import RESULT, SCOPE, CountingBackend, finish
from tests.fakes import FakeClock, Recorder

Sealed = TypeVar("Sealed")
CATALOG = Catalog([NamedStatement(name="one", sql="select 1 -- one", read_only=True)])


class CountingTransactions(CountingBackend):
    """The same for transactions."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.transactions: list[Transaction] = []

    async def run_transaction(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        self.transactions.append(transaction)
        results = [RESULT for _ in transaction.statements]
        for statement in transaction.statements:
            await self.run(scope, statement, lambda result: None)
        return seal(results), results


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> CountingTransactions:
    return CountingTransactions(clock)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def transactions(backend: CountingTransactions, clock: FakeClock, seen: Recorder) -> ScopedTransactions:
    queries = ScopedQueries(backend, QuerySettings(), clock, seen, CATALOG)
    return ScopedTransactions(backend, queries, 3, clock, seen)


def request(*statements: str | QueryRequest, **options: Any) -> TransactionRequest:
    return TransactionRequest(
        statements=tuple(QueryRequest(sql=one) if isinstance(one, str) else one for one in statements),
        **options,
    )


async def test_results_are_sealed_together_and_counted_once(
    transactions: ScopedTransactions, clock: FakeClock, seen: Recorder
) -> None:
    running = asyncio.create_task(transactions.run(SCOPE, request("select 1", "select 2"), len))
    await clock.advance(0.5)
    await finish(clock, running)
    assert running.result() == 2
    assert seen.events == [
        QueryFinished(
            backend="counting", outcome="ok", rows=4, truncated=True, statements=2, database_seconds=1.0
        )
    ]


async def test_a_failure_is_counted_once(
    transactions: ScopedTransactions, backend: CountingTransactions, clock: FakeClock, seen: Recorder
) -> None:
    backend.failure = UsherError(Reason.DEADLOCK, "two waited")
    running = asyncio.create_task(transactions.run(SCOPE, request("select 1", "select 2"), len))
    await finish(clock, running)
    assert running.exception() is backend.failure
    assert [(event.outcome, event.statements) for event in seen.of(QueryFinished)] == [("DEADLOCK", 2)]


def test_defaults_and_grants_are_those_of_queries(transactions: ScopedTransactions) -> None:
    made = transactions.transaction(request("update t set a = 1", QueryRequest(sql="select 1", max_rows=5)))
    assert (made.isolation, made.read_only, made.timeout) == (Isolation.READ_COMMITTED, False, 30.0)
    assert [(one.verb, one.max_rows) for one in made.statements] == [("UPDATE", 1000), ("SELECT", 5)]
    grant = Grant(read_only=True, max_rows=7, statement_timeout=2.0)
    made = transactions.transaction(request("select 1", isolation=Isolation.SERIALIZABLE), grant)
    assert (made.isolation, made.read_only, made.timeout) == (Isolation.SERIALIZABLE, True, 2.0)
    assert made.statements[0].max_rows == 7


def test_one_named_statement_that_only_reads_makes_all_read_only(transactions: ScopedTransactions) -> None:
    made = transactions.transaction(request("select 1", QueryRequest(name="one")))
    assert [one.read_only for one in made.statements] == [True, True]


@pytest.mark.parametrize(
    ("second", "reason", "field"),
    [
        (QueryRequest(sql=""), Reason.SQL_EMPTY, "statements[1].sql"),
        (QueryRequest(sql="commit"), Reason.STATEMENT_NOT_ALLOWED, "statements[1].sql"),
        (QueryRequest(sql="select 1", max_rows=0), Reason.INVALID_FIELD, "statements[1].max_rows"),
        (QueryRequest(name="two"), Reason.NAMED_STATEMENT_UNKNOWN, "statements[1].statement"),
        (QueryRequest(sql="x", name="one"), Reason.INVALID_FIELD, "statements[1].sql"),
        (
            QueryRequest(sql="select 1", statement_timeout=31.0),
            Reason.INVALID_FIELD,
            "options.statement_timeout",
        ),
    ],
)
async def test_what_is_refused_names_its_field_and_reaches_no_backend(
    transactions: ScopedTransactions,
    backend: CountingTransactions,
    second: QueryRequest,
    reason: Reason,
    field: str,
) -> None:
    with pytest.raises(UsherError) as caught:
        await transactions.run(SCOPE, request("select 1", second), len)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)
    assert caught.value.message.startswith(f"{field}: ")
    assert caught.value.metadata["statement_index"] == "1"
    assert backend.transactions == []


def test_too_many_statements_are_refused(transactions: ScopedTransactions) -> None:
    transactions.transaction(request(*["select 1"] * 3))
    with pytest.raises(UsherError) as caught:
        transactions.transaction(request(*["select 1"] * 4))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_FIELD, "statements")
    assert "transaction_max_statements" in caught.value.message
