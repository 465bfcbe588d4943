"""QueryService: run a statement in a scope, and see what Postgres sees there."""

from __future__ import annotations

from usher.v1 import query_service_pb2 as pb

from sidecar.core.issuer import Issuer, Scope, TokenRequest
from sidecar.core.queries import QueryRequest, ScopedQueries
from sidecar.rpc.convert import duration, result_bytes, seconds, struct_to_dict
from sidecar.rpc.convert_values import parameter


class QueryService:
    """Methods of usher.v1.QueryService. `max_bytes` is the largest response."""

    def __init__(self, issuer: Issuer, queries: ScopedQueries, max_bytes: int) -> None:
        self._issuer = issuer
        self._queries = queries
        self._max_bytes = max_bytes

    async def run_scoped_query(self, request: pb.RunScopedQueryRequest) -> bytes:
        """Runs one statement as the scope's subject."""
        options = request.options
        asked = QueryRequest(
            sql=request.sql,
            parameters=tuple(
                parameter(value, f"parameters[{index}]") for index, value in enumerate(request.parameters)
            ),
            read_only=options.read_only,
            statement_timeout=(
                seconds(options.statement_timeout) if options.HasField("statement_timeout") else None
            ),
            max_rows=options.max_rows or None,
        )
        return await self._queries.run(
            self._scope(request.scope), asked, lambda result: result_bytes(result, self._max_bytes)
        )

    async def who_am_i(self, request: pb.WhoAmIRequest) -> bytes:
        """Says what Postgres sees in the scope."""
        seen = await self._queries.who_am_i(self._scope(request.scope))
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

    def _scope(self, scope: pb.Scope) -> Scope:
        if scope.WhichOneof("scope") == "token":
            return self._issuer.scope_of_token(scope.token)
        return self._issuer.scope_of_principal(
            TokenRequest(subject=scope.principal.subject, claims=struct_to_dict(scope.principal.claims))
        )
