"""The asynchronous client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from usher import messages
from usher.connection import Connection, connection
from usher.errors import UsherError, closed, from_grpc, invalid
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


class Client:
    """A connection to a sidecar. Made without I/O; close it, or use it as `async with`.

    It may be made before there is an event loop. The first call binds it to the running one until that ends.
    """

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
        self._by: _Stubs | None = None

    async def issue_token(
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
        return messages.token_of(
            await self._call(self._stubs.tokens.IssueToken, request, timeout, repeatable=True)
        )

    def token_source(
        self,
        sub: str,
        claims: Mapping[str, Any] | None = None,
        *,
        audiences: Sequence[str] = (),
        ttl: float | None = None,
    ) -> TokenSource:
        """Gives a token that is good for a while, again and again."""
        return TokenSource(self, sub, claims, audiences, ttl)

    async def verify_token(self, token: str, *, audience: str = "", timeout: float | None = None) -> Verified:
        """The claims of a valid token. Raises UsherError with one of the TOKEN reasons."""
        request = messages.verify_request(token, audience)
        return messages.verified_of(
            await self._call(self._stubs.tokens.VerifyToken, request, timeout, repeatable=True)
        )

    def as_user(self, sub: str, claims: Mapping[str, Any] | None = None) -> Scope:
        """The scope of an end user. Raises UsherError for claims that cannot be sent."""
        return Scope(self, messages.principal(sub, claims))

    def with_token(self, token: str | Token) -> Scope:
        """The scope of a token."""
        return Scope(self, messages.token_scope(token))

    async def list_keys(self, *, timeout: float | None = None) -> list[key_service_pb2.Key]:
        """Every published key; on the admin address."""
        return list((await self.describe_keys(timeout=timeout)).keys)

    async def describe_keys(self, *, timeout: float | None = None) -> key_service_pb2.ListKeysResponse:
        """Every published key, their store, its replicas and verifiers; on the admin address."""
        request = key_service_pb2.ListKeysRequest()
        response: key_service_pb2.ListKeysResponse = await self._call(
            self._stubs.keys.ListKeys, request, timeout, repeatable=True
        )
        return response

    async def rotate_keys(
        self, *, force: bool = False, timeout: float | None = None
    ) -> key_service_pb2.RotateKeysResponse:
        """Lets the prepared key sign now; on the admin address."""
        request = key_service_pb2.RotateKeysRequest(force=force)
        response: key_service_pb2.RotateKeysResponse = await self._call(
            self._stubs.keys.RotateKeys, request, timeout, repeatable=False
        )
        return response

    async def revoke_key(
        self, kid: str, *, after: float = 0.0, timeout: float | None = None
    ) -> key_service_pb2.RevokeKeyResponse:
        """Takes a key out of the set, at once or `after` seconds; on the admin address."""
        request = messages.revoke_request(kid, after)
        response: key_service_pb2.RevokeKeyResponse = await self._call(
            self._stubs.keys.RevokeKey, request, timeout, repeatable=False
        )
        return response

    async def close(self, grace: float | None = None) -> None:
        """Ends the connection; calls under way have `grace` seconds."""
        self._closed = True
        if self._by is not None and self._by.loop is asyncio.get_running_loop():
            await self._by.channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _stubs(self) -> _Stubs:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise closed()
        if self._by is None or self._by.loop.is_closed():
            self._by = _Stubs(loop, self._connection)
        if self._by.loop is not loop:
            raise invalid("the client is at work in another event loop; make one for each")
        return self._by

    async def _call(self, method: Any, request: Any, timeout: float | None, *, repeatable: bool) -> Any:
        tries = messages.Tries(
            self._timeout if timeout is None else timeout, self._retries, repeatable=repeatable
        )
        while True:
            if self._closed:
                raise closed()
            try:
                with self._errors(repeatable=repeatable):
                    return await method(request, timeout=tries.remaining, metadata=self._connection.metadata)
            except UsherError as failed:
                wait = tries.wait(failed)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    @contextlib.contextmanager
    def _errors(self, *, repeatable: bool) -> Iterator[None]:
        """What gRPC raises becomes a UsherError."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error, repeatable=repeatable) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                raise closed() from None  # the channel's end, and nobody's who wants this task to end
            raise
        except grpc.aio.UsageError:
            raise closed() from None


class _Stubs:
    """A channel, which belongs to the event loop that it was made in, and what calls by it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, to: Connection) -> None:
        self.loop = loop
        if to.credentials is None:
            self.channel = grpc.aio.insecure_channel(to.target, options=to.options)
        else:
            self.channel = grpc.aio.secure_channel(to.target, to.credentials, options=to.options)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.queries = query_service_pb2_grpc.QueryServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.keys = key_service_pb2_grpc.KeyServiceStub(self.channel)  # type: ignore[no-untyped-call]


class Scope:
    """Whose rows a statement sees. Made by Client.as_user and Client.with_token."""

    def __init__(self, client: Client, scope: query_service_pb2.Scope) -> None:
        self._client, self._scope = client, scope

    async def query(self, sql: str, *parameters: Any, **options: Unpack[QueryOptions]) -> Result:
        """Runs one statement. Options: read_only, max_rows, statement_timeout, timeout. Raises UsherError."""
        return await self._run(sql, "", parameters, **options)

    async def run(self, statement: str, *parameters: Any, **options: Unpack[QueryOptions]) -> Result:
        """Runs a named statement, with the options of `query`. Raises UsherError."""
        return await self._run("", statement, parameters, **options)

    def stream(self, sql: str, *parameters: Any, **options: Unpack[StreamOptions]) -> RowStream:
        """The rows of one reading statement, any number of them. No I/O before they are asked for.

        Options: max_rows, statement_timeout, and timeout, the deadline of the whole stream in seconds (600).
        Raises UsherError for what cannot be sent.
        """
        return self._stream(sql, "", parameters, **options)

    def stream_statement(
        self, statement: str, *parameters: Any, **options: Unpack[StreamOptions]
    ) -> RowStream:
        """The same of a named statement."""
        return self._stream("", statement, parameters, **options)

    async def transaction(
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
        response = await client._call(
            client._stubs.queries.RunScopedTransaction, request, timeout, repeatable=read_only
        )
        return [Result(result, json_text=client._json_text) for result in response.results]

    async def who_am_i(self, *, timeout: float | None = None) -> query_service_pb2.WhoAmIResponse:
        """What Postgres sees in this scope. Raises UsherError."""
        request = query_service_pb2.WhoAmIRequest(scope=self._scope)
        client = self._client
        response: query_service_pb2.WhoAmIResponse = await client._call(
            client._stubs.queries.WhoAmI, request, timeout, repeatable=True
        )
        return response

    async def _run(
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
        response = await client._call(
            client._stubs.queries.RunScopedQuery, request, timeout, repeatable=read_only
        )
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
    ) -> RowStream:
        request = messages.stream_request(
            self._scope,
            sql,
            statement,
            parameters,
            max_rows=max_rows,
            statement_timeout=statement_timeout,
        )
        return RowStream(self._client, request, messages.STREAM_TIMEOUT if timeout is None else timeout)


class RowStream(Received):
    """The rows of a statement, for one `async for`. Whoever leaves that early cancels the statement.

    In an `async with` its columns are there before the first row, and it ends with the block.
    """

    def __init__(
        self, client: Client, request: query_service_pb2.StreamScopedQueryRequest, timeout: float
    ) -> None:
        super().__init__(json_text=client._json_text)
        self._client, self._request, self._timeout = client, request, timeout
        self._call: Any = None

    async def __aenter__(self) -> Self:
        if self._call is None:
            self._call, first = await self._client._call(
                self._begin, self._request, self._timeout, repeatable=True
            )
            self._take(first)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._read = True

    async def __aiter__(self) -> AsyncIterator[Row]:
        """The rows in order. Raises UsherError, after the rows that came before."""
        self._read_once()
        async with self:
            while self.summary is None:
                for row in self._take(await self._next()):
                    yield row
            await self._next()  # the status, without which the call would be cancelled

    async def _next(self) -> Any:
        with self._client._errors(repeatable=True):
            return await self._call.read()

    async def _begin(self, request: Any, **options: Any) -> Any:
        """The call and its first message. A call that has begun is not tried again."""
        call = self._client._stubs.queries.StreamScopedQuery(request, **options)
        return call, await call.read()


class TokenSource:
    """Gives the same token until shortly before it expires. Callers at the same time share one request."""

    def __init__(
        self,
        client: Client,
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
        self._turn = asyncio.Lock()
        self._kept = KeptToken()

    async def token(self) -> Token:
        """A token. Raises UsherError."""
        called_at = time.monotonic()
        async with self._turn:
            kept = self._kept.get(called_at)
            if kept is not None:
                return kept
            asked_at = time.monotonic()
            try:
                token = await self._client.issue_token(
                    self._sub, self._claims, audiences=self._audiences, ttl=self._ttl
                )
            except UsherError as failure:
                self._kept.fail(failure)
                raise
            return self._kept.keep(token, asked_at)
