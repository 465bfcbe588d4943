"""QueryService: run a statement in a scope, and see what Postgres sees there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from usher.v1 import query_service_pb2 as pb

from sidecar.core.callers import Caller
from sidecar.core.issuer import Issuer, Scope, TokenRequest
from sidecar.core.policy import Ask, Authorizer, Grant, Principal, Run
from sidecar.core.queries import QueryRequest, ScopedQueries
from sidecar.core.streams import ScopedStreams
from sidecar.core.transactions import ScopedTransactions
from sidecar.services.calls import Write
from sidecar.services.convert import duration, result_bytes, results_bytes, statement_timeout, struct_to_dict
from sidecar.services.convert_values import parameters
from sidecar.services.streams import delivery
from sidecar.services.transactions import runs_of, transaction_request

_Statement = pb.RunScopedQueryRequest | pb.StreamScopedQueryRequest


class QueryService:
    """Methods of usher.v1.QueryService. `max_bytes` is the largest response."""

    def __init__(
        self,
        issuer: Issuer,
        queries: ScopedQueries,
        streams: ScopedStreams,
        transactions: ScopedTransactions,
        max_bytes: int,
        authorizer: Authorizer,
    ) -> None:
        self._issuer = issuer
        self._queries = queries
        self._streams = streams
        self._transactions = transactions
        self._max_bytes = max_bytes
        self._authorizer = authorizer

    async def run_scoped_query(self, request: pb.RunScopedQueryRequest, caller: Caller) -> bytes:
        """Runs one statement as the scope's subject."""
        scope, grant = self._granted(request.scope, caller, "RunScopedQuery", _run(request))
        asked = _asked(request, read_only=request.options.read_only)
        return await self._queries.run(
            scope, asked, lambda result: result_bytes(result, self._max_bytes), grant
        )

    async def stream_scoped_query(
        self, request: pb.StreamScopedQueryRequest, caller: Caller, write: Write
    ) -> None:
        """Sends the rows of one statement, which runs as the scope's subject and only reads."""
        scope, grant = self._granted(request.scope, caller, "StreamScopedQuery", _run(request))
        asked = _asked(request)
        await self._streams.run(scope, asked, delivery(write, self._max_bytes), grant)

    async def run_scoped_transaction(self, request: pb.RunScopedTransactionRequest, caller: Caller) -> bytes:
        """Runs several statements in one transaction as the scope's subject."""
        self._transactions.check_count(len(request.statements))
        scope, grant = self._granted(request.scope, caller, "RunScopedTransaction", *runs_of(request))
        return await self._transactions.run(
            scope,
            transaction_request(request),
            lambda results: results_bytes(results, self._max_bytes),
            grant,
        )

    async def who_am_i(self, request: pb.WhoAmIRequest, caller: Caller) -> bytes:
        """Says what Postgres sees in the scope."""
        scope, _ = self._granted(request.scope, caller, "WhoAmI", None)
        seen = await self._queries.who_am_i(scope)
        return pb.WhoAmIResponse(
            role=seen.role,
            login_role=seen.login_role,
            user_id=seen.user_id,
            session=seen.session,
            backend_kind=self._queries.backend_kind,
            claims_age=duration(seen.claims_age) if seen.claims_age is not None else None,
            row_security_applies=seen.row_security_applies,
            database=seen.database,
            server_version=seen.server_version,
        ).SerializeToString()

    def _granted(
        self, asked: pb.Scope, caller: Caller, method: str, *runs: Run | None
    ) -> tuple[Scope, Grant]:
        """The scope as the policy lets the caller have it for all of these runs.

        A token is decided on the claims that it holds.
        """
        if asked.WhichOneof("scope") == "token":
            scope = self._issuer.scope_of_token(asked.token)
            principal = Principal(
                subject=scope.subject, claims=scope.custom, audiences=scope.audiences, signed=True
            )
            grant = self._decided(caller, method, principal, runs)
            if grant.claims:  # the token does not say them
                scope = replace(scope, payload={**scope.payload, **grant.claims}, token=None)
            return _under(scope, grant), grant
        claims = struct_to_dict(asked.principal.claims)
        principal = Principal(subject=asked.principal.subject, claims=claims)
        grant = self._decided(caller, method, principal, runs)
        scope = self._issuer.scope_of_principal(
            TokenRequest(subject=principal.subject, claims={**claims, **grant.claims}, max_ttl=grant.max_ttl)
        )
        return _under(scope, grant), grant

    def _decided(
        self, caller: Caller, method: str, principal: Principal, runs: Sequence[Run | None]
    ) -> Grant:
        asks = [Ask(method=method, principal=principal, run=run) for run in runs]
        return self._authorizer.decide(caller, *asks)


def _under(scope: Scope, grant: Grant) -> Scope:
    """The scope with the role that is granted."""
    return scope if grant.role is None else replace(scope, role=grant.role)


def _run(request: _Statement) -> Run:
    """What the policy decides."""
    return Run(
        statement=request.statement or None,
        free=bool(request.sql),
        max_rows=request.options.max_rows or None,
        timeout=statement_timeout(request.options),
    )


def _asked(request: _Statement, *, read_only: bool = False) -> QueryRequest:
    """The statement with its parameters. Raises UsherError for a value that cannot travel."""
    return QueryRequest(
        sql=request.sql,
        name=request.statement,
        parameters=parameters(request.parameters),
        read_only=read_only,
        statement_timeout=statement_timeout(request.options),
        max_rows=request.options.max_rows or None,
    )
