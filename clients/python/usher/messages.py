"""What calls ask and answer, without I/O: shared by the asynchronous and the synchronous client."""

from __future__ import annotations

import datetime
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict, overload

from google.protobuf.duration_pb2 import Duration

from usher.errors import UsherError, invalid
from usher.v1 import key_service_pb2, query_service_pb2, token_service_pb2, values_pb2
from usher.values import claims_dict, claims_struct, column, parameter

DEFAULT_TIMEOUT: Final = 15.0
"""Seconds that a call may take when nothing else is said."""
LONGEST_TIMEOUT: Final = 99_999_999.0
"""Seconds, three years: gRPC takes no infinite deadline for what it is."""


class QueryOptions(TypedDict, total=False):
    """How a statement is run."""

    read_only: bool
    """Runs it in a READ ONLY transaction, and lets the client repeat it."""
    max_rows: int | None
    """Most rows to return; the result says whether there were more."""
    statement_timeout: float | None
    """The longest run time in Postgres, in seconds."""
    timeout: float | None
    """The deadline of the call, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was issued."""

    token: str = field(repr=False)
    kid: str
    alg: str
    jti: str
    issue_time: datetime.datetime
    expire_time: datetime.datetime
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A token that was found valid."""

    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    kid: str
    alg: str
    jti: str
    issue_time: datetime.datetime
    expire_time: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a result; `kind` as in values.proto, without its prefix."""

    name: str
    type_name: str
    kind: str
    element_kind: str | None


class Row(Sequence[Any]):
    """A view of one row: by position, or by name; of columns with the same name the first."""

    __slots__ = ("_at", "_result")

    def __init__(self, result: Result, at: int) -> None:
        self._result, self._at = result, at

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [values[self._at] for values in self._result.data[key]]
        position = self._result.position(key) if isinstance(key, str) else key
        return self._result.data[position][self._at]

    def __len__(self) -> int:
        return len(self._result.data)

    def __repr__(self) -> str:
        return f"<Row {self._at} of {len(self._result)}>"

    def as_dict(self) -> dict[str, Any]:
        """The values by column name."""
        return {name: self[name] for name in self._result.names}


class Result(Sequence[Row]):
    """The rows of a statement, kept as columns."""

    def __init__(
        self, response: query_service_pb2.RunScopedQueryResponse, *, json_text: bool = False
    ) -> None:
        self.truncated: bool = response.truncated
        """Whether there were more rows than the limit."""
        self.command_tag: str = response.command_tag
        self.affected_rows: int = response.affected_rows
        self.columns = tuple(
            Column(
                name=meta.name,
                type_name=meta.type_name,
                kind=_kind(meta.kind),
                element_kind=_kind(meta.element_kind) if meta.element_kind else None,
            )
            for meta in response.columns
        )
        self.data = tuple(
            column(meta, data, response.row_count, json_text=json_text)
            for meta, data in zip(response.columns, response.data, strict=True)
        )
        """The values, a list for each column."""
        self._count = response.row_count
        self.names: dict[str, int] = {}
        """Column names with their positions, in the order of the columns."""
        for at, meta in enumerate(self.columns):
            self.names.setdefault(meta.name, at)

    def position(self, name: str) -> int:
        """Where the column of this name stands. Raises KeyError."""
        return self.names[name]

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [Row(self, row) for row in range(*at.indices(self._count))]
        row = at + self._count if at < 0 else at
        if not 0 <= row < self._count:
            raise IndexError("there is no such row")
        return Row(self, row)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, at) for at in range(self._count))


def key_state(key: key_service_pb2.Key) -> str:
    """The state of a key: PREPARED, ACTIVE or RETIRED."""
    return key_service_pb2.KeyState.Name(key.state).removeprefix("KEY_STATE_")


def _kind(number: int) -> str:
    return values_pb2.Kind.Name(number).removeprefix("KIND_")


def issue_request(
    sub: str,
    claims: Mapping[str, Any] | None,
    audiences: Sequence[str],
    ttl: float | None,
    *,
    validate_only: bool,
) -> token_service_pb2.IssueTokenRequest:
    """The request of issue_token."""
    if isinstance(audiences, str):  # a text is a sequence, of letters
        raise invalid("audiences: a list of texts")
    try:
        request = token_service_pb2.IssueTokenRequest(
            subject=sub, audiences=audiences, claims=claims_struct(claims), validate_only=validate_only
        )
    except (ValueError, TypeError):
        raise invalid("sub, audiences: they must be text") from None
    if ttl is not None:
        request.ttl.CopyFrom(duration("ttl", ttl))
    return request


def verify_request(token: str, audience: str) -> token_service_pb2.VerifyTokenRequest:
    """The request of verify_token."""
    try:
        return token_service_pb2.VerifyTokenRequest(token=token, audience=audience)
    except (ValueError, TypeError):
        raise invalid("token, audience: they must be text") from None


def revoke_request(kid: str, after: float) -> key_service_pb2.RevokeKeyRequest:
    """The request of revoke_key."""
    try:
        return key_service_pb2.RevokeKeyRequest(kid=kid, delay=duration("after", after))
    except (ValueError, TypeError):
        raise invalid("kid: it must be text") from None


def token_scope(token: str | Token) -> query_service_pb2.Scope:
    """The scope of a token."""
    try:
        return query_service_pb2.Scope(token=token.token if isinstance(token, Token) else token)
    except (ValueError, TypeError):
        raise invalid("token: it must be text") from None


def principal(sub: str, claims: Mapping[str, Any] | None) -> query_service_pb2.Scope:
    """The scope of an end user."""
    try:
        return query_service_pb2.Scope(
            principal=query_service_pb2.Principal(subject=sub, claims=claims_struct(claims))
        )
    except (ValueError, TypeError):
        raise invalid("sub: it must be text") from None


def query_request(
    scope: query_service_pb2.Scope,
    sql: str,
    statement: str,
    parameters: Sequence[Any],
    *,
    read_only: bool,
    max_rows: int | None,
    statement_timeout: float | None,
) -> query_service_pb2.RunScopedQueryRequest:
    """The request of query and run."""
    sent = [parameter(value, f"parameters[{at}]") for at, value in enumerate(parameters)]
    try:
        options = query_service_pb2.QueryOptions(read_only=read_only, max_rows=max_rows or 0)
        if statement_timeout is not None:
            options.statement_timeout.CopyFrom(duration("statement_timeout", statement_timeout))
        return query_service_pb2.RunScopedQueryRequest(
            scope=scope, sql=sql, statement=statement, parameters=sent, options=options
        )
    except (ValueError, TypeError):
        raise invalid("sql, statement, max_rows: one is not of its type") from None


def token_of(response: token_service_pb2.IssueTokenResponse) -> Token:
    """The answer of issue_token."""
    return Token(
        token=response.token,
        kid=response.kid,
        alg=response.alg,
        jti=response.jti,
        issue_time=response.issue_time.ToDatetime(datetime.UTC),
        expire_time=response.expire_time.ToDatetime(datetime.UTC),
        claims=claims_dict(response.claims),
    )


def verified_of(response: token_service_pb2.VerifyTokenResponse) -> Verified:
    """The answer of verify_token."""
    return Verified(
        subject=response.subject,
        claims=claims_dict(response.claims),
        kid=response.kid,
        alg=response.alg,
        jti=response.jti,
        issue_time=response.issue_time.ToDatetime(datetime.UTC),
        expire_time=response.expire_time.ToDatetime(datetime.UTC),
    )


class KeptToken:
    """What a token source holds: a token until shortly before it expires, and the last failure, for all who
    waited for it."""

    def __init__(self) -> None:
        self._token: Token | None = None
        self._good_until = 0.0
        self._failure: UsherError | None = None
        self._failed_at = 0.0

    def get(self, called_at: float) -> Token | None:
        """The token while it is good. Raises the failure of a request that ended after `called_at`."""
        if self._token is not None and time.monotonic() < self._good_until:
            return self._token
        if self._failure is not None and self._failed_at >= called_at:
            raise self._failure.with_traceback(None)
        return None

    def keep(self, token: Token, asked_at: float) -> Token:
        """Keeps a token for its life less a tenth of it, or a minute."""
        life = (token.expire_time - token.issue_time).total_seconds()
        self._token, self._good_until = token, asked_at + life - min(60.0, life / 10)
        self._failure = None
        return token

    def fail(self, failure: UsherError) -> None:
        """Keeps why there was no token."""
        self._failure, self._failed_at = failure, time.monotonic()


class Tries:
    """When a call is tried again. One object a call."""

    def __init__(self, timeout: float, retries: int, *, repeatable: bool) -> None:
        if not isinstance(timeout, (int, float)) or math.isnan(timeout):
            raise invalid("timeout: a number of seconds")
        self._ends = time.monotonic() + min(timeout, LONGEST_TIMEOUT)
        self._left = retries if repeatable else 0
        self._longest = 0.1

    @property
    def remaining(self) -> float:
        """Seconds until the call's deadline."""
        return max(0.0, self._ends - time.monotonic())

    def wait(self, error: UsherError) -> float | None:
        """How long to wait before another try; None: there is none."""
        if self._left <= 0 or error.code != "UNAVAILABLE":
            return None
        self._left -= 1
        asked = error.retry_delay.total_seconds() if error.retry_delay else 0.0
        wait = max(asked, random.uniform(0, self._longest))  # noqa: S311 - no secret
        self._longest = min(2.0, self._longest * 2)
        return wait if wait < self.remaining else None


def duration(name: str, seconds: float) -> Duration:
    """A number of seconds as the contract has it. Raises UsherError, CLIENT_INVALID, naming the parameter."""
    made = Duration()
    try:
        made.FromTimedelta(datetime.timedelta(seconds=seconds))
    except (OverflowError, ValueError, TypeError):
        raise invalid(f"{name}: a number of seconds") from None
    return made
