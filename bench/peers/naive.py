"""The plain port of the guide's stack to Python, as one writes it at first.

Usage: python -m bench.peers.naive DSN. grpc.aio on asyncio's own loop, PyJWT, asyncpg's pool with its reset,
each statement in a round trip of its own, one message a cell, an interceptor that looks its labels up. It
speaks Usher's requests; its rows are its own.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import grpc
import grpc.aio
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry, Counter, Histogram
from usher.v1 import query_service_pb2, token_service_pb2, values_pb2

ISSUER: Final = "https://issuer.example"
REGISTRY = CollectorRegistry()
CALLS = Counter("calls", "Calls.", ["method", "code"], registry=REGISTRY)
SECONDS = Histogram("seconds", "Seconds of a call.", ["method"], registry=REGISTRY)
KEYS: Final[dict[str, Any]] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


class Counting(grpc.aio.ServerInterceptor):
    """Counts each call."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)

        async def counted(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            response = await handler.unary_unary(request, context)
            CALLS.labels(method=details.method, code="OK").inc()
            SECONDS.labels(method=details.method).observe(time.perf_counter() - started)
            return response

        return grpc.unary_unary_rpc_method_handler(
            counted, handler.request_deserializer, handler.response_serializer
        )


def sign(algorithm: str, subject: str, claims: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A token and its claims."""
    now = int(time.time())
    registered = {"iss": ISSUER, "sub": subject, "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
    payload = claims | registered
    return jwt.encode(payload, KEYS[algorithm], algorithm=algorithm, headers={"kid": algorithm}), payload


async def issue(request: Any, algorithm: str) -> Any:
    """Answers as IssueToken does."""
    token, payload = sign(algorithm, request.subject, MessageToDict(request.claims))
    response = token_service_pb2.IssueTokenResponse(
        token=token, kid=algorithm, alg=algorithm, jti=payload["jti"]
    )
    response.issue_time.FromSeconds(payload["iat"])
    response.expire_time.FromSeconds(payload["exp"])
    response.claims.update(payload)
    return response


def fill(cell: Any, value: Any) -> None:
    """One value."""
    if isinstance(value, int):
        cell.int_value = value
    elif isinstance(value, uuid.UUID):
        cell.uuid_value = value.bytes
    elif isinstance(value, datetime.datetime):
        cell.timestamp_value.seconds = int(value.timestamp())
        cell.timestamp_value.micros = value.microsecond
    else:
        cell.text_value = str(value)


async def query(pool: Any, request: Any) -> Any:
    """Runs one statement in a scope."""
    principal = request.scope.principal
    claims = {"sub": principal.subject, **MessageToDict(principal.claims)}
    arguments = [getattr(value, value.WhichOneof("kind")) for value in request.parameters]
    async with pool.acquire() as connection, connection.transaction(readonly=request.options.read_only):
        await connection.execute("SET LOCAL ROLE authenticated")
        await connection.execute("SELECT set_config('request.jwt.claims', $1, true)", json.dumps(claims))
        records = await connection.fetch(request.sql, *arguments)
    rows = values_pb2.ArrayValue()
    for record in records:
        row = rows.elements.add().array_value.elements
        for value in record:
            fill(row.add(), value)
    return rows


async def main(dsn: str) -> None:
    """Serves until it is ended."""
    pool = await asyncpg.create_pool(dsn, min_size=8, max_size=8)

    def method(request: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        async def handle(asked: Any, context: Any) -> Any:
            return await run(asked)

        return grpc.unary_unary_rpc_method_handler(
            handle, request.FromString, lambda answer: answer.SerializeToString()
        )

    issue_request = token_service_pb2.IssueTokenRequest
    methods = {
        "IssueES256": method(issue_request, lambda asked: issue(asked, "ES256")),
        "IssueRS256": method(issue_request, lambda asked: issue(asked, "RS256")),
        "Query": method(query_service_pb2.RunScopedQueryRequest, lambda asked: query(pool, asked)),
    }
    server = grpc.aio.server(interceptors=[Counting()])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Naive", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
