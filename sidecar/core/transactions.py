"""Scoped transactions: several statements as the end user that a scope names, all of them or none."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from sidecar.core.clock import Clock
from sidecar.core.errors import UsherError, invalid_field, of_statement
from sidecar.core.events import Observer
from sidecar.core.issuer import Scope
from sidecar.core.policy import UNLIMITED, Grant
from sidecar.core.queries import Backend, QueryRequest, ScopedQueries, Statement, reported
from sidecar.core.values import ResultSet

Sealed = TypeVar("Sealed")


class Isolation(enum.StrEnum):
    """A level of isolation, as SQL writes it (PostgreSQL documentation, "Transaction Isolation")."""

    READ_COMMITTED = "READ COMMITTED"
    REPEATABLE_READ = "REPEATABLE READ"
    SERIALIZABLE = "SERIALIZABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRequest:
    """What the caller asks to run. `read_only` and `statement_timeout` are the same in all statements."""

    statements: tuple[QueryRequest, ...]
    isolation: Isolation = Isolation.READ_COMMITTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A request that passed the checks: at least one statement, all with the same timeout and `read_only`.

    `isolation` None is the database's own default.
    """

    statements: tuple[Statement, ...]
    isolation: Isolation | None = None

    @property
    def read_only(self) -> bool:
        """Whether it can write nothing."""
        return self.statements[0].read_only

    @property
    def timeout(self) -> float:
        """Longest run time of each statement, seconds."""
        return self.statements[0].timeout


class TransactionBackend(Backend, Protocol):
    """A backend that runs several statements in one transaction, too."""

    async def run_transaction(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        """Runs the statements one after the other, and commits when all have run; see Backend.run.

        Each begins as the scope, in its role, and with the whole timeout, whatever those before it did. The
        results together are held to the limit of one. Raises UsherError, said of the statement at fault
        (`of_statement`) where one is.
        """
        ...


class ScopedTransactions:
    """Checks a request as a query's is, statement by statement, and hands it to the backend."""

    def __init__(
        self,
        backend: TransactionBackend,
        queries: ScopedQueries,
        max_statements: int,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._observer = observer
        self._queries = queries
        self._max_statements = max_statements

    async def run(
        self,
        scope: Scope,
        request: TransactionRequest,
        seal: Callable[[Sequence[ResultSet]], Sealed],
        grant: Grant = UNLIMITED,
    ) -> Sealed:
        """Runs the request as the scope's subject. Raises UsherError."""
        transaction = self.transaction(request, grant)
        with reported(self._backend, self._clock, self._observer) as tally:
            tally.statements = len(transaction.statements)
            sealed, results = await self._backend.run_transaction(scope, transaction, seal)
            tally.rows = sum(result.row_count for result in results)
            tally.truncated = any(result.truncated for result in results)
            return sealed

    def check_count(self, statements: int) -> None:
        """Raises INVALID_FIELD for more statements than a transaction may have."""
        if statements > self._max_statements:
            raise invalid_field(
                "statements",
                f"has {statements}, the limit is {self._max_statements} (transaction_max_statements); "
                "send fewer, or write many rows in one statement",
            )

    def transaction(self, request: TransactionRequest, grant: Grant = UNLIMITED) -> Transaction:
        """The request with every limit filled in, the grant's among them; read-only if one statement is.

        Nothing is sent before all have passed. Raises UsherError naming the statement and its field.
        """
        self.check_count(len(request.statements))
        statements: list[Statement] = []
        for index, asked in enumerate(request.statements):
            try:
                statements.append(self._queries.statement(asked, grant))
            except UsherError as error:
                raise of_statement(error, index) from None
        read_only = any(statement.read_only for statement in statements)
        return Transaction(
            statements=tuple(replace(statement, read_only=read_only) for statement in statements),
            isolation=request.isolation,
        )
