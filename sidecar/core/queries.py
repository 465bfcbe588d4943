"""Scoped queries: one statement, run as the end user that a scope names."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError, invalid_field
from sidecar.core.events import Observer, QueryFinished
from sidecar.core.issuer import Scope
from sidecar.core.policy import UNLIMITED, Grant
from sidecar.core.sql import check_statement
from sidecar.core.statements import Catalog
from sidecar.core.values import Column, Parameter, ResultSet, Rows, StreamEnd

Sealed = TypeVar("Sealed")
Deliver = Callable[["tuple[Column, ...] | Rows | StreamEnd"], Awaitable[int]]
"""Takes the parts of a stream one after the other, and returns when there is room for more: how many bytes it
became. First the columns, the end last."""
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """Limits of a scoped query."""

    statement_timeout: float = 30.0
    """Longest run time in Postgres, seconds; also the default."""
    default_max_rows: int = 1000
    """Rows returned when the caller names no limit."""
    max_rows: int = 10_000
    """Most rows a caller may ask for."""
    max_sql_bytes: int = 256 * 1024
    """Longest SQL text, bytes."""
    transaction_max_statements: int = 100
    """Most statements of a transaction."""

    def validate(self) -> None:
        """Raises SettingsError for limits that contradict each other."""
        if not 0.001 <= self.statement_timeout <= 3600:
            raise SettingsError("statement_timeout must lie between 1 ms and 1 h")
        if not 1 <= self.default_max_rows <= self.max_rows:
            raise SettingsError("default_max_rows must lie between 1 and max_rows")
        if not 1 <= self.max_sql_bytes <= 2**30:
            raise SettingsError("max_sql_bytes must lie between 1 and 1 GiB")
        if not 1 <= self.transaction_max_statements <= 1000:
            raise SettingsError("transaction_max_statements must lie between 1 and 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What the caller asks to run: `sql`, or the named statement `name`.

    `statement_timeout` in seconds and `max_rows`: None for the default.
    """

    sql: str = ""
    name: str = ""
    parameters: tuple[Parameter, ...] = ()
    read_only: bool = False
    statement_timeout: float | None = None
    max_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A request that passed the checks, with every limit filled in. `verb` is the leading keyword."""

    sql: str
    verb: str
    parameters: tuple[Parameter, ...]
    read_only: bool
    timeout: float
    max_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenIdentity:
    """What Postgres itself sees in a scope. `session` is JSON text; `claims_age` in seconds."""

    role: str
    login_role: str
    user_id: str | None
    session: str | None
    claims_age: float | None
    row_security_applies: bool
    database: str
    server_version: int


class Backend(Protocol):
    """A way to run statements as somebody. Each implementation proves identity its own way."""

    @property
    def kind(self) -> str:
        """A short constant name, also a metrics label."""
        ...

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        """Runs one statement in one transaction of its own.

        `seal` turns the result into its final form before the commit, so that a result which cannot be
        delivered leaves nothing written. Cancelling the task cancels the statement in Postgres.
        Raises UsherError.
        """
        ...

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        """Runs one statement in a READ ONLY transaction of its own, and delivers its rows as they come.

        `statement.timeout` is for each portion of rows. Nothing is kept but the rows being delivered and the
        portion behind them. Cancelling the task cancels the statement in Postgres. Raises UsherError, also
        when rows have been delivered.
        """
        ...

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """Asks Postgres who it takes the scope for. Raises UsherError."""
        ...


@dataclass(slots=True)
class Tally:
    """What is told of a query, stream or transaction in the end. `waited` seconds are not the database's."""

    rows: int = 0
    truncated: bool = False
    waited: float = 0.0
    statements: int = 1


@contextlib.contextmanager
def reported(backend: Backend, clock: Clock, observer: Observer) -> Iterator[Tally]:
    """Reports how the block ended, by one QueryFinished; the block fills the tally in."""
    tally, started = Tally(), clock.monotonic()
    outcome = Reason.DEADLINE_EXCEEDED.value  # what a cancellation leaves
    try:
        yield tally
        outcome = "ok"
    except UsherError as error:
        outcome = error.reason.value
        raise
    except Exception:
        outcome = Reason.INTERNAL.value
        raise
    finally:
        observer(
            QueryFinished(
                backend=backend.kind,
                outcome=outcome,
                rows=tally.rows,
                truncated=tally.truncated,
                statements=tally.statements,
                database_seconds=clock.monotonic() - started - tally.waited,
            )
        )


class ScopedQueries:
    """Checks a request, fills in the limits, and hands it to the backend."""

    def __init__(
        self,
        backend: Backend,
        settings: QuerySettings,
        clock: Clock,
        observer: Observer,
        catalog: Catalog | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._catalog = catalog or Catalog()

    @property
    def backend_kind(self) -> str:
        """The kind of the backend that answers."""
        return self._backend.kind

    async def run(
        self,
        scope: Scope,
        request: QueryRequest,
        seal: Callable[[ResultSet], Sealed],
        grant: Grant = UNLIMITED,
    ) -> Sealed:
        """Runs the request as the scope's subject; see Backend.run. Raises UsherError."""
        statement = self.statement(request, grant)
        with reported(self._backend, self._clock, self._observer) as tally:
            sealed, result = await self._backend.run(scope, statement, seal)
            tally.rows, tally.truncated = result.row_count, result.truncated
            return sealed

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """What Postgres sees in this scope. Raises UsherError."""
        return await self._backend.who_am_i(scope)

    def statement(self, request: QueryRequest, grant: Grant = UNLIMITED) -> Statement:
        """The request with every limit filled in, the grant's among them.

        Raises UsherError naming the field that is wrong.
        """
        sql, read_only = request.sql, request.read_only or grant.read_only
        if request.name:
            if request.sql:
                raise invalid_field("sql", "leave it out when `statement` names one")
            named = self._catalog.find(request.name)
            sql, read_only = named.sql, read_only or named.read_only
            if len(request.parameters) != len(named.params):
                raise invalid_field(
                    "parameters",
                    f"the statement takes {len(named.params)}, the request has {len(request.parameters)}",
                    Reason.PARAMETER_COUNT,
                )
        verb = check_statement(sql, self._settings.max_sql_bytes)
        longest = _least(self._settings.statement_timeout, grant.statement_timeout)
        timeout = longest if request.statement_timeout is None else request.statement_timeout
        if not 0.001 <= timeout <= longest:
            raise invalid_field(
                "options.statement_timeout", f"must lie between 1 ms and {longest:g} s, the server's limit"
            )
        most = _least(self._settings.max_rows, grant.max_rows)
        max_rows = (
            min(self._settings.default_max_rows, most) if request.max_rows is None else request.max_rows
        )
        if not 1 <= max_rows <= most:
            raise invalid_field("options.max_rows", f"must lie between 1 and {most}; page by key for more")
        return Statement(
            sql=sql,
            verb=verb,
            parameters=request.parameters,
            read_only=read_only,
            timeout=timeout,
            max_rows=max_rows,
        )


def _least(server: N, granted: N | None) -> N:
    """The server's limit, or a smaller one that the policy grants."""
    return server if granted is None else min(server, granted)
