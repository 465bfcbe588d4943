"""Calls into asyncpg that are not public. asyncpg is pinned to one version for their sake.

asyncpg's public calls take either all rows, or some of them by a cursor and two round trips more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

_PORTAL: Final = "usher_result"
"""A portal with a name outlives other statements of its transaction; it ends with the transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a statement gave: its first rows, and whether it ran to its end.

    `command` is the command tag without a count, such as "INSERT 0"; "" when the limit cut the run. `count`
    is the tag's count, None when it has none.
    """

    records: list[asyncpg.Record]
    completed: bool
    command: str
    count: int | None


async def execute_limited(
    connection: asyncpg.Connection[Any],
    statement: asyncpg.prepared_stmt.PreparedStatement[Any],
    arguments: Sequence[Any],
    limit: int,
) -> Run:
    """Runs a prepared statement and takes at most `limit` rows off Postgres, in one round trip.

    Once in a transaction, and only in one. Raises what asyncpg raises.
    """
    records, tag, completed = await connection._protocol.bind_execute(
        statement._state, arguments, _PORTAL, limit, True, None
    )
    command, count = _split(tag)
    return Run(records=records or [], completed=bool(completed), command=command, count=count)


async def run_to_end(
    connection: asyncpg.Connection[Any],
    statement: asyncpg.prepared_stmt.PreparedStatement[Any],
    run: Run,
) -> Run:
    """The run of a statement that the limit cut, led to its end; further rows stay in Postgres.

    Needed for writes, which Postgres does in full in any case, but counts only here. Two round trips.
    Raises what asyncpg raises.
    """
    _, skipped = _split((await connection.execute(f"MOVE FORWARD ALL IN {_PORTAL}")).encode())
    # Nothing is left to give but the command tag, which counts the rows of this last call alone.
    _, tag, completed = await connection._protocol.execute(statement._state, _PORTAL, 0, True, None)
    command, count = _split(tag)
    return Run(
        records=run.records,
        completed=bool(completed),
        command=command,
        count=len(run.records) + (skipped or 0) + (count or 0),
    )


def _split(tag: bytes | None) -> tuple[str, int | None]:
    """A command tag and its count: "INSERT 0 5" is ("INSERT 0", 5)."""
    text = (tag or b"").decode()
    command, _, last = text.rpartition(" ")
    return (command, int(last)) if last.isdigit() else (text, None)
