"""What became of a statement: its result, and whether it has written."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from sidecar.core.queries import Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.values import ResultSet
from sidecar.postgres.codecs import Prepared
from sidecar.postgres.driver import Run
from sidecar.postgres.exchange import Exchange
from sidecar.postgres.values import columnar
from sidecar.postgres.wire import Step, answer

HAS_WRITTEN: Final = Step(
    sql="SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL", usual=answer("SELECT 1", b"f")
)


def result_of(prepared: Prepared, run: Run, max_rows: int) -> ResultSet:
    """The result, of `max_rows` rows at most."""
    truncated = len(run.records) > max_rows
    kept = run.records[:max_rows]
    if truncated and run.command in ("", "SELECT"):
        run = Run(records=kept, completed=True, command="SELECT", count=len(kept))
    return ResultSet(
        columns=prepared.columns,
        data=columnar(prepared, kept),
        row_count=len(kept) if prepared.columns else 0,
        truncated=truncated,
        command_tag=run.command if run.count is None else f"{run.command} {run.count}",
        affected_rows=run.count or 0,
    )


async def has_written(
    connection: asyncpg.Connection[Any], statement: Statement, run: Run, exchange: Exchange
) -> bool:
    """Whether the statement has written, or may have: then it must run to its end, and be committed.

    Also a SELECT may, by a function. A reading one can be endless and stays cut. Only Postgres knows, and of
    the transaction as a whole: after a write every one that is cut counts as having written.
    """
    if statement.verb in WRITING_VERBS:
        return True
    if statement.read_only:
        return False
    if run.portions == 1:
        return exchange.rows[-1] == (b"t",)
    return run.completed or bool(await connection.fetchval(HAS_WRITTEN.sql))
