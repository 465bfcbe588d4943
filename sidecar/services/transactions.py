"""RunScopedTransaction's request, as core takes it."""

from __future__ import annotations

from typing import Final

from usher.v1 import query_service_pb2 as pb

from sidecar.core.policy import Run
from sidecar.core.queries import QueryRequest
from sidecar.core.transactions import Isolation, TransactionRequest
from sidecar.services.convert import statement_timeout
from sidecar.services.convert_values import parameters

_ISOLATION: Final = {
    pb.ISOLATION_LEVEL_UNSPECIFIED: Isolation.READ_COMMITTED,
    pb.ISOLATION_LEVEL_READ_COMMITTED: Isolation.READ_COMMITTED,
    pb.ISOLATION_LEVEL_REPEATABLE_READ: Isolation.REPEATABLE_READ,
    pb.ISOLATION_LEVEL_SERIALIZABLE: Isolation.SERIALIZABLE,
}


def transaction_request(request: pb.RunScopedTransactionRequest) -> TransactionRequest:
    """The statements with their parameters. Raises UsherError for a value that cannot travel."""
    options = request.options
    return TransactionRequest(
        statements=tuple(
            QueryRequest(
                sql=statement.sql,
                name=statement.statement,
                parameters=parameters(statement.parameters, f"statements[{index}]."),
                read_only=options.read_only,
                statement_timeout=statement_timeout(options),
                max_rows=statement.max_rows or None,
            )
            for index, statement in enumerate(request.statements)
        ),
        isolation=_ISOLATION[options.isolation_level],
    )


def runs_of(request: pb.RunScopedTransactionRequest) -> list[Run]:
    """What the policy decides: each statement as RunScopedQuery's would be."""
    return [
        Run(
            statement=statement.statement or None,
            free=bool(statement.sql),
            max_rows=statement.max_rows or None,
            timeout=statement_timeout(request.options),
            index=index,
        )
        for index, statement in enumerate(request.statements)
    ]
