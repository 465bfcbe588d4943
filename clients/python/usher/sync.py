"""The synchronous client: the asynchronous one without `await`, for threads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from usher import messages
from usher.connection import connection
from usher.errors import UsherError, closed, from_grpc
from usher.messages import Isolation, KeptToken, QueryOptions, Statement, StreamOptions, Token, Verified
from usher.results import Result, Row
from usher.streams import Received
from usher.v1 import (
    key_service_pb2,
    key_service_pb2_grpc,
    query_service_pb2,
    query_service_pb2_grpc,
    token_service_pb2_grpc,
)


class SyncClient:
    """A connection to a sidecar. Made without I/O; close it, or use it as `with`."""

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: bool = False,
        tls_ca: bytes | None = None,
        tls_cert: bytes | None = None,
        tls_key: bytes | None = None,
        key: str | None = None,
        timeout: float = messages.DEFAULT_TIMEOUT,
        retries: int = 3,
        json_text: bool = False,
    ) -> None:
        """`target` is host:port or unix:/path, or several with commas between, which take turns; unset,
        USHER_ADDRESS or 127.0.0.1:50051.

        TLS is used with `tls` (the system's roots) or `tls_ca` (PEM); `tls_cert` and `tls_key` (PEM) prove
        who calls, as does the bearer `key`. `timeout` is each call's deadline in seconds. Raises UsherError
        CLIENT_INVALID for what cannot work, and for a key that would go to another machine in the clear.
        """
        self._connection = connection(
            target, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, key=key
        )
        self._timeout, self._retries, self._json_text = timeout, retries, json_text
        self._closed = False
        target, credentials = self._connection.target, self._connection.credentials
        options = self._connection.options
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=options)
        self._tokens = token_service_pb2_grpc.TokenServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._queries = query_service_pb2_grpc.QueryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._keys = key_service_pb2_grpc.KeyServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def issue_token(
        self,
        sub: str,
        claims: Mapping[str, Any] | None = None,
        *,
        audiences: Sequence[str] = (),
        ttl: float | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> Token:
        """A token for `sub`; with `validate_only` what it would be, signed by nobody. Raises UsherError."""
        request = messages.issue_request(sub, claims, audiences, ttl, validate_only=validate_only)
        return messages.token_of(self._call(self._tokens.IssueToken, request, timeout, repeatable=True))

    def token_source(
        self,
        sub: str,
        claims: Mapping[str, Any] | None = None,
        *,
        audiences: Sequence[str] = (),
        ttl: float | None = None,
    ) -> SyncTokenSource:
        """Gives a token that is good for a while, again and again."""
        return SyncTokenSource(self, sub, claims, audiences, ttl)

    def verify_token(self, token: str, *, audience: str = "", timeout: float | None = None) -> Verified:
        """The claims of a valid token. Raises UsherError with one of the TOKEN reasons."""
        request = messages.verify_request(token, audience)
        return messages.verified_of(self._call(self._tokens.VerifyToken, request, timeout, repeatable=True))

    def as_user(self, sub: str, claims: Mapping[str, Any] | None = None) -> SyncScope:
        """The scope of an end user. Raises UsherError for claims that cannot be sent."""
        return SyncScope(self, messages.principal(sub, claims))

    def with_token(self, token: str | Token) -> SyncScope:
        """The scope of a token."""
        return SyncScope(self, messages.token_scope(token))

    def list_keys(self, *, timeout: float | None = None) -> list[key_service_pb2.Key]:
        """Every published key; on the admin address."""
        return list(self.describe_keys(timeout=timeout).keys)

    def describe_keys(self, *, timeout: float | None = None) -> key_service_pb2.ListKeysResponse:
        """Every published key, their store, its replicas and verifiers; on the admin address."""
        request = key_service_pb2.ListKeysRequest()
        response: key_service_pb2.ListKeysResponse = self._call(
            self._keys.ListKeys, request, timeout, repeatable=True
        )
        return response

    def rotate_keys(
        self, *, force: bool = False, timeout: float | None = None
    ) -> key_service_pb2.RotateKeysResponse:
        """Lets the prepared key sign now; on the admin address."""
        request = key_service_pb2.RotateKeysRequest(force=force)
        response: key_service_pb2.RotateKeysResponse = self._call(
            self._keys.RotateKeys, request, timeout, repeatable=False
        )
        return response

    def revoke_key(
        self, kid: str, *, after: float = 0.0, timeout: float | None = None
    ) -> key_service_pb2.RevokeKeyResponse:
        """Takes a key out of the set, at once or `after` seconds; on the admin address."""
        request = messages.revoke_request(kid, after)
        response: key_service_pb2.RevokeKeyResponse = self._call(
            self._keys.RevokeKey, request, timeout, repeatable=False
        )
        return response

    def close(self) -> None:
        """Ends the connection and cuts the calls under way."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Any, request: Any, timeout: float | None, *, repeatable: bool) -> Any:
        tries = messages.Tries(
            self._timeout if timeout is None else timeout, self._retries, repeatable=repeatable
        )
        while True:
            if self._closed:
                raise closed()
            try:
                with self._errors(repeatable=repeatable):
                    return method(request, timeout=tries.remaining, metadata=self._connection.metadata)
            except UsherError as failed:
                wait = tries.wait(failed)
                if wait is None:
                    raise
            time.sleep(wait)

    @contextlib.contextmanager
    def _errors(self, *, repeatable: bool) -> Iterator[None]:
        """What gRPC raises becomes a UsherError."""
        try:
            yield
        except grpc.RpcError as error:
            raise closed() if self._closed else from_grpc(error, repeatable=repeatable) from None
        except ValueError:
            raise closed() from None  # what gRPC raises on a closed channel


class SyncScope:
    """Whose rows a statement sees. Made by SyncClient.as_user and SyncClient.with_token."""

    def __init__(self, client: SyncClient, scope: query_service_pb2.Scope) -> None:
        self._client, self._scope = client, scope

    def query(self, sql: str, *parameters: Any, **options: Unpack[QueryOptions]) -> Result:
        """Runs one statement. Options: read_only, max_rows, statement_timeout, timeout. Raises UsherError."""
        return self._run(sql, "", parameters, **options)

    def run(self, statement: str, *parameters: Any, **options: Unpack[QueryOptions]) -> Result:
        """Runs a named statement, with the options of `query`. Raises UsherError."""
        return self._run("", statement, parameters, **options)

    def stream(self, sql: str, *parameters: Any, **options: Unpack[StreamOptions]) -> SyncRowStream:
        """The rows of one reading statement, any number of them. No I/O before they are asked for.

        Options: max_rows, statement_timeout, and timeout, the deadline of the whole stream in seconds (600).
        Raises UsherError for what cannot be sent.
        """
        return self._stream(sql, "", parameters, **options)

    def stream_statement(
        self, statement: str, *parameters: Any, **options: Unpack[StreamOptions]
    ) -> SyncRowStream:
        """The same of a named statement."""
        return self._stream("", statement, parameters, **options)

    def transaction(
        self,
        statements: Sequence[Statement],
        *,
        isolation: Isolation = "read committed",
        read_only: bool = False,
        statement_timeout: float | None = None,
        timeout: float | None = None,
    ) -> list[Result]:
        """Runs the statements in one transaction: all of them, or none.

        Raises UsherError, whose `statement_index` says which one failed. It is not repeated by itself, unless
        it is read-only: `retryable` says that it may be.
        """
        request = messages.transaction_request(
            self._scope,
            statements,
            isolation=isolation,
            read_only=read_only,
            statement_timeout=statement_timeout,
        )
        client = self._client
        response = client._call(client._queries.RunScopedTransaction, request, timeout, repeatable=read_only)
        return [Result(result, json_text=client._json_text) for result in response.results]

    def who_am_i(self, *, timeout: float | None = None) -> query_service_pb2.WhoAmIResponse:
        """What Postgres sees in this scope. Raises UsherError."""
        request = query_service_pb2.WhoAmIRequest(scope=self._scope)
        client = self._client
        response: query_service_pb2.WhoAmIResponse = client._call(
            client._queries.WhoAmI, request, timeout, repeatable=True
        )
        return response

    def _run(
        self,
        sql: str,
        statement: str,
        parameters: Sequence[Any],
        *,
        read_only: bool = False,
        max_rows: int | None = None,
        statement_timeout: float | None = None,
        timeout: float | None = None,
    ) -> Result:
        request = messages.query_request(
            self._scope,
            sql,
            statement,
            parameters,
            read_only=read_only,
            max_rows=max_rows,
            statement_timeout=statement_timeout,
        )
        client = self._client
        response = client._call(client._queries.RunScopedQuery, request, timeout, repeatable=read_only)
        return Result(response, json_text=client._json_text)

    def _stream(
        self,
        sql: str,
        statement: str,
        parameters: Sequence[Any],
        *,
        max_rows: int | None = None,
        statement_timeout: float | None = None,
        timeout: float | None = None,
    ) -> SyncRowStream:
        request = messages.stream_request(
            self._scope,
            sql,
            statement,
            parameters,
            max_rows=max_rows,
            statement_timeout=statement_timeout,
        )
        return SyncRowStream(self._client, request, messages.STREAM_TIMEOUT if timeout is None else timeout)


class SyncRowStream(Received):
    """The rows of a statement, for one `for`. Whoever leaves that early cancels the statement.

    In a `with` its columns are there before the first row, and it ends with the block.
    """

    def __init__(
        self, client: SyncClient, request: query_service_pb2.StreamScopedQueryRequest, timeout: float
    ) -> None:
        super().__init__(json_text=client._json_text)
        self._client, self._request, self._timeout = client, request, timeout
        self._call: Any = None

    def __enter__(self) -> Self:
        if self._call is None:
            self._call, first = self._client._call(self._begin, self._request, self._timeout, repeatable=True)
            self._take(first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._read = True

    def __iter__(self) -> Iterator[Row]:
        """The rows in order. Raises UsherError, after the rows that came before."""
        self._read_once()
        with self:
            while self.summary is None:
                yield from self._take(self._next())
            self._next()  # the status, without which the call would be cancelled

    def _next(self) -> Any:
        with self._client._errors(repeatable=True):
            return next(self._call, None)

    def _begin(self, request: Any, **options: Any) -> Any:
        """The call and its first message. A call that has begun is not tried again."""
        call = self._client._queries.StreamScopedQuery(request, **options)
        return call, next(call, None)


class SyncTokenSource:
    """Gives the same token until shortly before it expires. Callers at the same time share one request."""

    def __init__(
        self,
        client: SyncClient,
        sub: str,
        claims: Mapping[str, Any] | None,
        audiences: Sequence[str],
        ttl: float | None,
    ) -> None:
        self._client, self._sub, self._claims, self._audiences, self._ttl = (
            client,
            sub,
            claims,
            audiences,
            ttl,
        )
        self._turn = threading.Lock()
        self._kept = KeptToken()

    def token(self) -> Token:
        """A token. Raises UsherError."""
        called_at = time.monotonic()
        with self._turn:
            kept = self._kept.get(called_at)
            if kept is not None:
                return kept
            asked_at = time.monotonic()
            try:
                token = self._client.issue_token(
                    self._sub, self._claims, audiences=self._audiences, ttl=self._ttl
                )
            except UsherError as failure:
                self._kept.fail(failure)
                raise
            return self._kept.keep(token, asked_at)
