"""The work, as each contestant's requests say it: bytes for the generator, made anew for each run."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import jwt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from usher.v1 import query_service_pb2, token_service_pb2, values_pb2

from bench.generator import Call
from bench.targets import KEY, MissingError, Target

SUBJECT: Final = "user-4711"
CLAIMS: Final[Mapping[str, Any]] = {
    "tenant_id": "acme",
    "role": "editor",
    "permissions": ["orders:read", "orders:write"],
}
READ: Final = "SELECT id, name, key, made_at, amount, extra FROM items ORDER BY id LIMIT $1"
WRITE: Final = "UPDATE notes SET body = $1 WHERE id = $2"
NOTES: Final = 1024
TOKENS: Final = 64
"""So many different tokens take turns: an answer from a cache would not be an answer."""
MILLION: Final = (
    "SELECT n AS id, 'item ' || n AS name, now() AS made_at, n / 7.0 AS amount"
    " FROM generate_series(1, 1000000) AS n"
)
QUERIES: Final = {"query1": 1, "query10": 10, "query100": 100, "query10000": 10_000}
"""Rows of six mixed columns."""
WORKS: Final = (
    "issue_es256",
    "issue_rs256",
    *QUERIES,
    "token_query",
    "write",
    "transaction2",
    "verify",
    "jwks",
)
_TOKEN = "/usher.v1.TokenService/"
_QUERY = "/usher.v1.QueryService/"


def calls(target: Target, protocol: str, work: str) -> list[Call]:
    """What one operation of a work sends to a target. Raises MissingError where it cannot do that."""
    if target.name == "hono":
        return _hono(target, work)
    if target.name == "naive":
        return _naive(target, work)
    if target.name == "postgrest":
        return _postgrest(target, work)
    return _usher(target, protocol, work)


def echo(target: Target, request: int, response: int) -> list[Call]:
    """A call of these sizes, in bytes."""
    return [_grpc(target, f"/bench.Echo/{response}", [bytes(request)])]


def issue_request(ttl: int = 300) -> bytes:
    """IssueTokenRequest."""
    request = token_service_pb2.IssueTokenRequest(
        subject=SUBJECT, ttl=Duration(seconds=ttl), claims=_claims()
    )
    return bytes(request.SerializeToString())


def query_request(sql: str, parameters: Sequence[Any], *, read_only: bool, token: str = "") -> bytes:
    """RunScopedQueryRequest."""
    request = query_service_pb2.RunScopedQueryRequest(
        scope=query_service_pb2.Scope(token=token) if token else _scope(),
        sql=sql,
        parameters=_values(parameters),
        options=query_service_pb2.QueryOptions(read_only=read_only, max_rows=10_000),
    )
    return bytes(request.SerializeToString())


def transaction_request(statements: Sequence[tuple[str, Sequence[Any]]]) -> bytes:
    """RunScopedTransactionRequest, of texts with their parameters."""
    request = query_service_pb2.RunScopedTransactionRequest(
        scope=_scope(),
        statements=[
            query_service_pb2.ScopedStatement(sql=sql, parameters=_values(parameters), max_rows=10_000)
            for sql, parameters in statements
        ],
    )
    return bytes(request.SerializeToString())


def ask(target: Target, path: str, body: bytes) -> bytes:
    """One gRPC call of ours, before anything is measured."""
    credentials = None
    if target.tls:
        read = {name: Path(path).read_bytes() for name, path in target.tls.items()}
        credentials = grpc.ssl_channel_credentials(read["authority"], read["key"], read["certificate"])
    options = [("grpc.max_receive_message_length", 64 * 1024**2)]
    channel = (
        grpc.secure_channel(target.addresses["grpc"], credentials, options)
        if credentials
        else grpc.insecure_channel(target.addresses["grpc"], options)
    )
    with channel:
        send: Any = channel.unary_unary(path)
        answer: bytes = send(body, metadata=tuple(target.headers.items()), timeout=30)
        return answer


def tokens(target: Target, count: int = TOKENS) -> list[str]:
    """Different tokens, good for an hour."""
    path = f"{_TOKEN}IssueToken"
    parse = token_service_pb2.IssueTokenResponse.FromString
    return [str(parse(ask(target, path, issue_request(3600))).token) for _ in range(count)]


def check(target: Target, work: str) -> int:
    """Looks once whether the sidecar answers what was asked; the answer's bytes."""
    if work in QUERIES:
        answer = ask(target, f"{_QUERY}RunScopedQuery", query_request(READ, [QUERIES[work]], read_only=True))
        found = query_service_pb2.RunScopedQueryResponse.FromString(answer)
        if found.row_count != QUERIES[work]:
            raise RuntimeError(f"{target.name}: {work} gave {found.row_count} rows")
        return len(answer)
    return len(ask(target, f"{_TOKEN}IssueToken", issue_request()))


def _scope() -> query_service_pb2.Scope:
    return query_service_pb2.Scope(principal=query_service_pb2.Principal(subject=SUBJECT, claims=_claims()))


def _values(parameters: Sequence[Any]) -> list[values_pb2.Value]:
    return [
        values_pb2.Value(int_value=one) if isinstance(one, int) else values_pb2.Value(text_value=one)
        for one in parameters
    ]


def _claims() -> Struct:
    claims = Struct()
    claims.update(dict(CLAIMS))
    return claims


def _writes() -> list[tuple[str, int]]:
    return [(f"written {number}", number) for number in range(1, NOTES + 1)]


def _usher(target: Target, protocol: str, work: str) -> list[Call]:
    send: Callable[[Target, str, list[bytes]], Call] = _grpc if protocol == "grpc" else _connect
    if work == "jwks":
        return [_get(target, "/.well-known/jwks.json")]
    if protocol not in target.addresses:
        raise MissingError(f"it does not serve {protocol} yet")
    if work.startswith("issue_"):
        return [send(target, f"{_TOKEN}IssueToken", [issue_request()])]
    if work == "verify":
        bodies = [token_service_pb2.VerifyTokenRequest(token=token) for token in tokens(target)]
        return [send(target, f"{_TOKEN}VerifyToken", [body.SerializeToString() for body in bodies])]
    run = f"{_QUERY}RunScopedQuery"
    if work in QUERIES:
        return [send(target, run, [query_request(READ, [QUERIES[work]], read_only=True)])]
    if work == "token_query":
        bound = [query_request(READ, [10], read_only=True, token=token) for token in tokens(target)]
        return [send(target, f"{_TOKEN}IssueToken", [issue_request()]), send(target, run, bound)]
    if work == "write":
        return [send(target, run, [query_request(WRITE, one, read_only=False) for one in _writes()])]
    if work == "transaction2":
        pairs = [transaction_request([(READ, [10]), (WRITE, one)]) for one in _writes()]
        return [send(target, f"{_QUERY}RunScopedTransaction", pairs)]
    if work == "stream":
        body = query_service_pb2.StreamScopedQueryRequest(scope=_scope(), sql=MILLION).SerializeToString()
        return [
            Call(
                kind="stream",
                address=target.addresses["grpc"],
                path=f"{_QUERY}StreamScopedQuery",
                bodies=[body],
                headers=target.headers,
            )
        ]
    raise MissingError(f"it has no {work}")


def _hono(target: Target, work: str) -> list[Call]:
    who = {"subject": SUBJECT, "claims": CLAIMS}
    if work == "jwks":
        return [_get(target, "/.well-known/jwks.json")]
    if work.startswith("issue_"):
        return [_json(target, "/issue", [who | {"alg": work[-5:].upper()}])]
    if work in QUERIES:
        return [_json(target, "/query", [who | _read(QUERIES[work])])]
    if work == "write":
        return [_json(target, "/query", [who | {"sql": WRITE, "parameters": one} for one in _writes()])]
    if work == "transaction2":
        pairs = [[{"sql": READ, "parameters": [10]}, {"sql": WRITE, "parameters": one}] for one in _writes()]
        return [_json(target, "/transaction", [who | {"statements": pair} for pair in pairs])]
    if work in ("verify", "token_query"):
        issued = [
            _post(target, "/issue", who | {"alg": "ES256", "ttl": 3600})["token"] for _ in range(TOKENS)
        ]
        if work == "verify":
            return [_json(target, "/verify", [{"token": token} for token in issued])]
        bound = [{"token": token} | _read(10) for token in issued]
        return [_json(target, "/issue", [who | {"alg": "ES256"}]), _json(target, "/query", bound)]
    raise MissingError(f"it has no {work}")


def _naive(target: Target, work: str) -> list[Call]:
    if work in ("issue_es256", "issue_rs256"):
        return [_grpc(target, f"/bench.Naive/Issue{work[-5:].upper()}", [issue_request()])]
    if work in QUERIES:
        return [_grpc(target, "/bench.Naive/Query", [query_request(READ, [QUERIES[work]], read_only=True)])]
    if work == "write":
        bodies = [query_request(WRITE, one, read_only=False) for one in _writes()]
        return [_grpc(target, "/bench.Naive/Query", bodies)]
    raise MissingError(f"it has no {work}")


def _postgrest(target: Target, work: str) -> list[Call]:
    if work not in QUERIES:
        raise MissingError(f"it has no {work}")
    token = jwt.encode({**CLAIMS, "sub": SUBJECT, "role": "authenticated"}, KEY, algorithm="HS256")
    path = f"/items?select=id,name,key,made_at,amount,extra&order=id&limit={QUERIES[work]}"
    headers = {"authorization": f"Bearer {token}"}
    return [Call(kind="http", method="GET", address=target.addresses["http"], path=path, headers=headers)]


def _read(rows: int) -> dict[str, Any]:
    return {"sql": READ, "parameters": [rows], "readOnly": True}


def _grpc(target: Target, path: str, bodies: list[bytes]) -> Call:
    return Call(
        kind="grpc", address=target.addresses["grpc"], path=path, bodies=bodies, headers=target.headers
    )


def _connect(target: Target, path: str, bodies: list[bytes]) -> Call:
    """The Connect protocol, unary: connectrpc.com/docs/protocol."""
    headers = {
        **target.headers,
        "content-type": "application/proto",
        "connect-protocol-version": "1",
        "connect-timeout-ms": "20000",
    }
    return Call(kind="http", address=target.addresses["connect"], path=path, bodies=bodies, headers=headers)


def _json(target: Target, path: str, documents: Sequence[Any]) -> Call:
    headers = {**target.headers, "content-type": "application/json"}
    bodies = [json.dumps(document).encode() for document in documents]
    return Call(kind="http", address=target.addresses["http"], path=path, bodies=bodies, headers=headers)


def _get(target: Target, path: str) -> Call:
    return Call(kind="http", method="GET", address=target.addresses["http"], path=path)


def _post(target: Target, path: str, document: Any) -> Any:
    request = urllib.request.Request(
        f"http://{target.addresses['http']}{path}",
        data=json.dumps(document).encode(),
        headers={**target.headers, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
