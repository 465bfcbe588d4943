"""What calls ask and answer, without I/O: shared by the asynchronous and the synchronous client."""

from __future__ import annotations

import contextlib
import datetime
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict

from google.protobuf.duration_pb2 import Duration

from usher.errors import UsherError, invalid
from usher.v1 import key_service_pb2, query_service_pb2, token_service_pb2, values_pb2
from usher.values import claims_dict, claims_struct, parameter

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


STREAM_TIMEOUT: Final = 600.0
"""The same for a whole stream: the server's own limit, unless that was changed."""


class StreamOptions(TypedDict, total=False):
    """How a statement is streamed."""

    max_rows: int | None
    """Most rows to send; the summary says whether there were more."""
    statement_timeout: float | None
    """The longest that Postgres may work on one portion of rows, in seconds."""
    timeout: float
    """The deadline of the whole stream, in seconds."""


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


Isolation = Literal["read committed", "repeatable read", "serializable"]
"""How much a transaction sees of what others commit meanwhile."""
_LEVELS: Final[Mapping[str, query_service_pb2.IsolationLevel]] = {
    "read committed": query_service_pb2.ISOLATION_LEVEL_READ_COMMITTED,
    "repeatable read": query_service_pb2.ISOLATION_LEVEL_REPEATABLE_READ,
    "serializable": query_service_pb2.ISOLATION_LEVEL_SERIALIZABLE,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a transaction: `sql`, or the `name` of one that the server holds."""

    sql: str = ""
    parameters: Sequence[Any] = field(default=(), repr=False)
    max_rows: int | None = None
    name: str = ""


def key_state(key: key_service_pb2.Key) -> str:
    """The state of a key: PREPARED, ACTIVE or RETIRED."""
    return key_service_pb2.KeyState.Name(key.state).removeprefix("KEY_STATE_")


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
    with _typed("sql, statement, max_rows"):
        return query_service_pb2.RunScopedQueryRequest(
            scope=scope,
            sql=sql,
            statement=statement,
            parameters=_parameters(parameters),
            options=query_service_pb2.QueryOptions(
                read_only=read_only,
                max_rows=max_rows or 0,
                statement_timeout=_statement_timeout(statement_timeout),
            ),
        )


def stream_request(
    scope: query_service_pb2.Scope,
    sql: str,
    statement: str,
    parameters: Sequence[Any],
    *,
    max_rows: int | None,
    statement_timeout: float | None,
) -> query_service_pb2.StreamScopedQueryRequest:
    """The request of stream and stream_statement."""
    with _typed("sql, statement, max_rows"):
        return query_service_pb2.StreamScopedQueryRequest(
            scope=scope,
            sql=sql,
            statement=statement,
            parameters=_parameters(parameters),
            options=query_service_pb2.StreamOptions(
                max_rows=max_rows or 0, statement_timeout=_statement_timeout(statement_timeout)
            ),
        )


def transaction_request(
    scope: query_service_pb2.Scope,
    statements: Sequence[Statement],
    *,
    isolation: Isolation,
    read_only: bool,
    statement_timeout: float | None,
) -> query_service_pb2.RunScopedTransactionRequest:
    """The request of transaction."""
    if isolation not in _LEVELS:
        raise invalid(f"isolation: one of {', '.join(_LEVELS)}")
    return query_service_pb2.RunScopedTransactionRequest(
        scope=scope,
        statements=[_statement(sent, f"statements[{at}]") for at, sent in enumerate(statements)],
        options=query_service_pb2.TransactionOptions(
            isolation_level=_LEVELS[isolation],
            read_only=read_only,
            statement_timeout=_statement_timeout(statement_timeout),
        ),
    )


def _statement(sent: Statement, place: str) -> query_service_pb2.ScopedStatement:
    with _typed(f"{place}: sql, name, max_rows"):
        return query_service_pb2.ScopedStatement(
            sql=sent.sql,
            statement=sent.name,
            parameters=_parameters(sent.parameters, f"{place}."),
            max_rows=sent.max_rows or 0,
        )


@contextlib.contextmanager
def _typed(names: str) -> Iterator[None]:
    """What protobuf refuses is CLIENT_INVALID, naming the parameters."""
    try:
        yield
    except (ValueError, TypeError, UnicodeEncodeError):
        raise invalid(f"{names}: one is not of its type") from None


def _parameters(values: Sequence[Any], place: str = "") -> list[values_pb2.Value]:
    return [parameter(value, f"{place}parameters[{at}]") for at, value in enumerate(values)]


def _statement_timeout(seconds: float | None) -> Duration | None:
    return None if seconds is None else duration("statement_timeout", seconds)


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
