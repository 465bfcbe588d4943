"""The backend itself: statements become a batch, the batch's results become theirs.

What differs from a connection of our own is in docs/neon.md: above all, the transaction is committed before
its rows are seen, so that a result which cannot be delivered has been written all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sidecar.core.errors import Reason, UsherError, of_statement
from sidecar.core.issuer import Scope
from sidecar.core.queries import Deliver, SeenIdentity, Statement
from sidecar.core.transactions import Transaction
from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import columns_of
from sidecar.postgres.neon_http import answers
from sidecar.postgres.neon_http.answers import Result
from sidecar.postgres.neon_http.batch import Batch, Query, batch_of, batch_of_queries, joined
from sidecar.postgres.neon_http.describing import Describer
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings
from sidecar.postgres.neon_http.text_values import columnar, to_text
from sidecar.postgres.neon_http.watch import Watch
from sidecar.postgres.parameters import bind

Sealed = TypeVar("Sealed")

_WHO_AM_I: Final = """
SELECT current_user::pg_catalog.text,
       session_user::pg_catalog.text,
       auth.user_id()::pg_catalog.text,
       auth.session()::pg_catalog.text,
       extract(epoch FROM pg_catalog.now())::pg_catalog.float8,
       (SELECT NOT (rolsuper OR rolbypassrls) FROM pg_catalog.pg_roles WHERE rolname = current_user)
         AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_class
           WHERE relrowsecurity AND NOT relforcerowsecurity
             AND pg_catalog.pg_has_role(current_user, relowner, 'USAGE')
         ),
       pg_catalog.current_database()::pg_catalog.text,
       pg_catalog.current_setting('server_version_num')
"""
_WHO_AM_I_SECONDS: Final = 5.0


class NeonHttpBackend:
    """Runs each statement, or each transaction, in a batch of its own."""

    def __init__(self, exchange: Exchange, settings: NeonSettings, watch: Watch) -> None:
        self._exchange = exchange
        self._settings = settings
        self._watch = watch
        self._describer = Describer(exchange)

    @property
    def kind(self) -> str:
        """The name under which this backend is reported."""
        return "neon-http"

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        """See core.queries.Backend.run, but `seal` is called after the commit: there is no other moment.

        An error from then on says that the statement was committed.
        """
        with self._watch.in_use():
            arguments = await self._arguments(scope, statement)
            batch = batch_of(statement, arguments, self._exchange.seed())
            found = await self._exchange.send(scope, batch, statement.timeout, read_only=statement.read_only)
            try:
                self._check_size(found)
                result = await self._result(scope, statement, batch, found)
                return seal(result), result
            except UsherError as error:
                raise answers.after_commit(error, statement.read_only) from None

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        """Refused: an answer of Neon's comes as a whole, and no cursor outlives it."""
        raise UsherError(
            Reason.STATEMENT_NOT_ALLOWED,
            "database_backend=neon-http cannot stream; page by key with RunScopedQuery, or connect directly",
        )

    async def run_transaction(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        """See core.transactions.TransactionBackend.run_transaction, but `seal` is called after the commit.

        Neon does not say which statement an error is of.
        """
        statements, read_only = transaction.statements, transaction.read_only
        with self._watch.in_use():
            batches = await self._batches(scope, statements)
            found = await self._exchange.send(
                scope,
                joined(statements, batches),
                transaction.timeout,
                read_only=read_only,
                isolation=transaction.isolation,
                statements=len(statements),
            )
            try:
                self._check_size(found)
                results = await self._results(scope, statements, batches, found)
                return seal(results), results
            except UsherError as error:
                raise answers.after_commit(error, read_only) from None

    async def _batches(self, scope: Scope, statements: Sequence[Statement]) -> list[Batch]:
        seed, batches = self._exchange.seed(), list[Batch]()
        for index, statement in enumerate(statements):
            try:
                arguments = await self._arguments(scope, statement)
            except UsherError as error:
                raise of_statement(error, index) from None
            batches.append(batch_of(statement, arguments, seed, index + 1))
        return batches

    async def _results(
        self,
        scope: Scope,
        statements: Sequence[Statement],
        batches: Sequence[Batch],
        found: Sequence[Result],
    ) -> list[ResultSet]:
        left, results = iter(found), list[ResultSet]()
        for index, (statement, batch) in enumerate(zip(statements, batches, strict=True)):
            own = list(itertools.islice(left, len(batch.results)))
            try:
                results.append(await self._result(scope, statement, batch, own))
            except UsherError as error:
                raise of_statement(error, index) from None
        return results

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        """See core.queries.Backend.who_am_i."""
        with self._watch.in_use():
            batch = batch_of_queries([Query(sql=_WHO_AM_I)], _WHO_AM_I_SECONDS, self._exchange.seed())
            found = await self._exchange.send(scope, batch, _WHO_AM_I_SECONDS, read_only=True)
        role, login, user, session, now, applies, database, version = found[0].rows[0]
        issued_at = scope.payload.get("iat")
        return SeenIdentity(
            role=str(role),
            login_role=str(login),
            user_id=user,
            session=session,
            claims_age=float(now or 0) - issued_at if isinstance(issued_at, int | float) else None,
            row_security_applies=applies == "t",
            database=str(database),
            server_version=int(version or 0),
        )

    async def _arguments(self, scope: Scope, statement: Statement) -> list[str | None]:
        if not statement.parameters:
            return []
        types = (await self._describer.signature(scope, statement.sql)).parameters
        bound = bind(types, statement.parameters)
        return [to_text(type_, argument) for type_, argument in zip(types, bound, strict=True)]

    async def _result(
        self, scope: Scope, statement: Statement, batch: Batch, found: Sequence[Result]
    ) -> ResultSet:
        rows = [row for portion in found for row in portion.rows]
        first, last = found[0], found[-1]
        types = await self._describer.columns(scope, statement.sql, first)
        columns = columns_of(first.names, types)
        truncated = len(rows) > statement.max_rows
        kept = rows[: statement.max_rows]
        reads = batch.cursor or last.command == "SELECT"
        count = len(kept) if reads and (batch.cursor or truncated) else last.count
        command = "SELECT" if reads else "INSERT 0" if last.command == "INSERT" else last.command
        return ResultSet(
            columns=columns,
            data=columnar(columns, types, kept),
            row_count=len(kept) if columns else 0,
            truncated=truncated,
            command_tag=command if count is None else f"{command} {count}",
            affected_rows=count or 0,
        )

    def _check_size(self, found: Sequence[Result]) -> None:
        rows = (row for portion in found for row in portion.rows)
        size = sum(len(value) if value is not None else 1 for row in rows for value in row)
        if size > self._settings.max_result_bytes:
            raise answers.too_large(self._settings.max_result_bytes, committed=False)
