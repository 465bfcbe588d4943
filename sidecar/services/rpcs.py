"""Every RPC with its messages and its behaviour, for any transport to serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from usher.v1 import key_service_pb2 as key
from usher.v1 import query_service_pb2 as query
from usher.v1 import revocation_service_pb2 as revocation
from usher.v1 import token_service_pb2 as token

from sidecar.services.access import ACCESS
from sidecar.services.calls import Behaviour, StreamBehaviour
from sidecar.services.key_service import KeyService
from sidecar.services.query_service import QueryService
from sidecar.services.revocation_service import RevocationService
from sidecar.services.token_service import TokenService

TOKEN_SERVICE: Final = "usher.v1.TokenService"
QUERY_SERVICE: Final = "usher.v1.QueryService"
KEY_SERVICE: Final = "usher.v1.KeyService"
REVOCATION_SERVICE: Final = "usher.v1.RevocationService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One RPC. Its request has at most `max_request_bytes`."""

    service: str
    method: str
    request_class: type[Message]
    response_class: type[Message]
    max_request_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryRpc(Rpc):
    """One request, one response."""

    behaviour: Behaviour[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRpc(Rpc):
    """One request, many responses."""

    behaviour: StreamBehaviour[Any]


def every_rpc(
    tokens: TokenService,
    queries: QueryService,
    keys: KeyService,
    revocations: RevocationService,
    max_message_bytes: int,
) -> tuple[UnaryRpc | StreamRpc, ...]:
    """The RPCs of the contract."""

    def rpc(
        service: str,
        method: str,
        request_class: type[Message],
        response_class: type[Message],
        behaviour: Behaviour[Any],
    ) -> UnaryRpc:
        return UnaryRpc(
            service=service,
            method=method,
            request_class=request_class,
            response_class=response_class,
            behaviour=behaviour,
            max_request_bytes=ACCESS[f"{service}/{method}"].max_request_bytes or max_message_bytes,
        )

    return (
        rpc(
            TOKEN_SERVICE, "IssueToken", token.IssueTokenRequest, token.IssueTokenResponse, tokens.issue_token
        ),
        rpc(
            TOKEN_SERVICE,
            "VerifyToken",
            token.VerifyTokenRequest,
            token.VerifyTokenResponse,
            tokens.verify_token,
        ),
        rpc(
            QUERY_SERVICE,
            "RunScopedQuery",
            query.RunScopedQueryRequest,
            query.RunScopedQueryResponse,
            queries.run_scoped_query,
        ),
        StreamRpc(
            service=QUERY_SERVICE,
            method="StreamScopedQuery",
            request_class=query.StreamScopedQueryRequest,
            response_class=query.StreamScopedQueryResponse,
            behaviour=queries.stream_scoped_query,
            max_request_bytes=max_message_bytes,
        ),
        rpc(
            QUERY_SERVICE,
            "RunScopedTransaction",
            query.RunScopedTransactionRequest,
            query.RunScopedTransactionResponse,
            queries.run_scoped_transaction,
        ),
        rpc(QUERY_SERVICE, "WhoAmI", query.WhoAmIRequest, query.WhoAmIResponse, queries.who_am_i),
        rpc(KEY_SERVICE, "ListKeys", key.ListKeysRequest, key.ListKeysResponse, keys.list_keys),
        rpc(KEY_SERVICE, "RotateKeys", key.RotateKeysRequest, key.RotateKeysResponse, keys.rotate_keys),
        rpc(KEY_SERVICE, "RevokeKey", key.RevokeKeyRequest, key.RevokeKeyResponse, keys.revoke_key),
        rpc(
            REVOCATION_SERVICE,
            "RevokeTokens",
            revocation.RevokeTokensRequest,
            revocation.RevokeTokensResponse,
            revocations.revoke_tokens,
        ),
        rpc(
            REVOCATION_SERVICE,
            "ListRevocations",
            revocation.ListRevocationsRequest,
            revocation.ListRevocationsResponse,
            revocations.list_revocations,
        ),
        rpc(
            REVOCATION_SERVICE,
            "LiftRevocation",
            revocation.LiftRevocationRequest,
            revocation.LiftRevocationResponse,
            revocations.lift_revocation,
        ),
    )
