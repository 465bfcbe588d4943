"""Clients of a running sidecar, and verifiers that had no part in signing."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT
from usher.v1 import (
    key_service_pb2_grpc,
    query_service_pb2,
    query_service_pb2_grpc,
    revocation_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
    values_pb2,
)

DEADLINE = 20.0


@dataclass(frozen=True)
class Client:
    """The services of one sidecar."""

    tokens: token_service_pb2_grpc.TokenServiceStub
    queries: query_service_pb2_grpc.QueryServiceStub
    keys: key_service_pb2_grpc.KeyServiceStub
    revocations: revocation_service_pb2_grpc.RevocationServiceStub

    def issue(self, subject: str, claims: Mapping[str, Any], ttl: int | None = None) -> str:
        """A token."""
        request = token_service_pb2.IssueTokenRequest(subject=subject, claims=struct(claims))
        if ttl is not None:
            request.ttl.CopyFrom(Duration(seconds=ttl))
        return str(self.tokens.IssueToken(request, timeout=DEADLINE).token)

    def rows(
        self, scope: query_service_pb2.Scope, sql: str, *parameters: str, timeout: float = DEADLINE
    ) -> list[tuple[str, ...]]:
        """The rows of a statement whose columns are all text."""
        response = self.queries.RunScopedQuery(
            query_service_pb2.RunScopedQueryRequest(
                scope=scope,
                sql=sql,
                parameters=[values_pb2.Value(text_value=text) for text in parameters],
            ),
            timeout=timeout,
        )
        return list(zip(*(data.texts for data in response.data), strict=True))


@contextmanager
def connected(address: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Client]:
    """A client of the sidecar at `address`, by TLS when credentials are given."""
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    made = (
        grpc.insecure_channel(address, options=options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options=options)
    )
    with made as channel:
        yield Client(
            tokens=token_service_pb2_grpc.TokenServiceStub(channel),
            queries=query_service_pb2_grpc.QueryServiceStub(channel),
            keys=key_service_pb2_grpc.KeyServiceStub(channel),
            revocations=revocation_service_pb2_grpc.RevocationServiceStub(channel),
        )


def struct(claims: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update(dict(claims))
    return made


def as_user(subject: str, **claims: Any) -> query_service_pb2.Scope:
    """The scope of a subject named directly."""
    return query_service_pb2.Scope(
        principal=query_service_pb2.Principal(subject=subject, claims=struct(claims))
    )


def with_token(token: str) -> query_service_pb2.Scope:
    """The scope of a token."""
    return query_service_pb2.Scope(token=token)


def refusal(error: grpc.RpcError) -> tuple[str, str]:
    """The code and reason of a refused call."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return error.code().name, info.reason
    return error.code().name, ""


class CachingVerifier:
    """A verifier as the world has them: it keeps the set that it fetched, and takes no key on trust."""

    def __init__(self, jwks_url: str, keep_seconds: float) -> None:
        self._url = jwks_url
        self._keep_seconds = keep_seconds
        self._fetched_at = float("-inf")
        self._text = ""

    def verify(self, token: str) -> dict[str, Any]:
        """The claims, if two independent libraries agree on them. Raises what they raise."""
        if time.monotonic() - self._fetched_at > self._keep_seconds:
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                self._text = answer.read().decode()
            self._fetched_at = time.monotonic()
        by_joserfc = joserfc_jwt.decode(
            token, KeySet.import_key_set(json.loads(self._text)), algorithms=["ES256", "RS256"]
        ).claims
        by_jwcrypto = JWT(expected_type="JWS", algs=["ES256", "RS256"])
        by_jwcrypto.deserialize(token, JWKSet.from_json(self._text))
        assert json.loads(by_jwcrypto.claims) == by_joserfc
        return dict(by_joserfc)
