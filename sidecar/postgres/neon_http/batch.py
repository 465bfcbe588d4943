"""What is sent for statements: a batch of queries, which Neon runs as one transaction.

A read goes through a cursor, so that Postgres makes no more rows than were asked for, and in portions that
grow, so that a result which is refused in the end is found out early. A write runs as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.core.queries import Statement
from sidecar.core.sql import WRITING_VERBS
from sidecar.core.sql_text import bare
from sidecar.postgres.sessions import SESSION_SETTINGS

REQUEST_LIMIT: Final = 10 * 1024 * 1024
"""Most bytes that Neon takes in one request."""

_CURSOR: Final = "usher_result"
_FIRST_PORTION: Final = 128
_GROWTH: Final = 8

# Functions keep plans, with the value of whatever is marked IMMUTABLE, by mistake or not; Neon keeps them.
_FORGET_PLANS: Final = "DISCARD PLANS"

_SETTINGS: Final = (
    "SELECT "
    + ", ".join(
        f"pg_catalog.set_config('{name}', '{value}', true)"
        # A cursor is planned for all of its rows: in most cases all are fetched.
        for name, value in {**SESSION_SETTINGS, "cursor_tuple_fraction": "1"}.items()
    )
    + ", pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.setseed($2)"
)
"""What the text forms of values depend on, the timeout, and a seed that the session's last user cannot know.
All but the seed ends with the transaction."""

_TIMEOUT: Final = """
SELECT pg_catalog.set_config('statement_timeout', greatest(1::pg_catalog.int8, least($1::pg_catalog.int8,
  $2::pg_catalog.int8 OPERATOR(pg_catalog.-) (
    extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.now())
    OPERATOR(pg_catalog.*) 1000
  )::pg_catalog.int8))::pg_catalog.text, true)
"""
"""The timeout, or what is left of the time that all statements up to this one have. Between portions, for
each of which Postgres begins its timer anew, as the statement may have set it, and between statements. Every
name is qualified, for a statement may have changed the search path, too."""

_AGAIN: Final = """
SELECT pg_catalog.set_config('role', 'none', true), pg_catalog.set_config('client_encoding', 'UTF8', true)
"""
"""Before a further statement: the role that has logged in, which is the scope's, and how texts are sent."""

_FINISH_IF_WRITTEN: Final = f"""
DO $$
DECLARE result pg_catalog.refcursor := '{_CURSOR}';
BEGIN
  IF pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN MOVE FORWARD ALL FROM result; END IF;
END $$
"""
"""A SELECT may write by a function; then it runs to its end, as any write does. A reading one stays cut."""

_WRITING_WORD: Final = re.compile(rf"\b(?:{'|'.join(sorted(WRITING_VERBS))})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a batch. All parameters are text, with types that Postgres infers."""

    sql: str
    parameters: Sequence[str | None] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The queries of one transaction, and which of their results are the statement's own."""

    queries: tuple[Query, ...]
    results: tuple[int, ...]
    """Where among the results of the queries the statement's own are."""
    cursor: bool = False
    """Whether these are portions of a read, whose command tag says FETCH."""
    prefix: int | None = 0
    """Characters in front of the caller's SQL, by which an error's position is off; None where statements
    differ in that, for an error does not say whose it is."""

    def body(self) -> bytes:
        """The request's body."""
        queries = [{"query": query.sql, "params": list(query.parameters)} for query in self.queries]
        return json.dumps({"queries": queries}, separators=(",", ":"), ensure_ascii=False).encode()


def batch_of(statement: Statement, arguments: Sequence[str | None], seed: float, number: int = 1) -> Batch:
    """The batch that runs a statement with these arguments; `seed` lies between -1 and 1.

    It is to be the statement with this number, counted from 1, in its transaction (`joined`).
    """
    head = _head(statement.timeout, seed)
    if _writes(statement):
        return Batch(queries=(*head, Query(sql=statement.sql, parameters=arguments)), results=(len(head),))
    declare = f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR "
    timer = _timer(statement, number)
    queries = [*head, Query(sql=declare + statement.sql, parameters=arguments)]
    results: list[int] = []
    # One row more than asked for tells whether there are more.
    for count in _portions(statement.max_rows + 1):
        queries += [timer] if results else []
        results.append(len(queries))
        queries.append(Query(sql=f"FETCH {count} FROM {_CURSOR}"))
    if not statement.read_only:
        queries += [timer, Query(sql=_FINISH_IF_WRITTEN)]
    return Batch(queries=tuple(queries), results=tuple(results), cursor=True, prefix=len(declare))


def joined(statements: Sequence[Statement], batches: Sequence[Batch]) -> Batch:
    """One batch of those of several statements, numbered from 1. Its results are those of all, in order."""
    first, *others = batches
    queries, results = list(first.queries), list(first.results)
    for number, (before, batch) in enumerate(zip(batches, others, strict=False), 2):
        queries += [Query(sql=f"CLOSE {_CURSOR}")] if before.cursor else []
        queries += [Query(sql=_AGAIN), _timer(statements[number - 1], number)]
        moved = len(queries) - _HEAD_QUERIES
        results += [moved + index for index in batch.results]
        queries += batch.queries[_HEAD_QUERIES:]
    alike = {batch.prefix for batch in batches} == {first.prefix}
    return Batch(queries=tuple(queries), results=tuple(results), prefix=first.prefix if alike else None)


def batch_of_queries(queries: Sequence[Query], timeout: float, seed: float, prefix: int = 0) -> Batch:
    """A batch of our own queries; the results are those of all of them."""
    head = _head(timeout, seed)
    return Batch(
        queries=(*head, *queries), results=tuple(range(len(head), len(head) + len(queries))), prefix=prefix
    )


def _head(timeout: float, seed: float) -> tuple[Query, ...]:
    return (
        Query(sql=_FORGET_PLANS),
        Query(sql=_SETTINGS, parameters=(_milliseconds(timeout), repr(seed))),
    )


_HEAD_QUERIES: Final = 2


def _timer(statement: Statement, number: int) -> Query:
    limits = (statement.timeout, statement.timeout * number)
    return Query(sql=_TIMEOUT, parameters=tuple(map(_milliseconds, limits)))


def _milliseconds(timeout: float) -> str:
    return str(max(1, round(timeout * 1000)))


def _portions(rows: int) -> list[int]:
    counts, portion = [], _FIRST_PORTION
    while rows > 0:
        counts.append(min(portion, rows))
        rows -= counts[-1]
        portion *= _GROWTH
    return counts


def _writes(statement: Statement) -> bool:
    """Whether a cursor would refuse the statement. In doubt it is run as it is, and its rows are cut here."""
    if statement.verb != "WITH":
        return statement.verb in WRITING_VERBS
    try:
        return _WRITING_WORD.search(bare(statement.sql)) is not None
    except ValueError:
        return True  # something quoted does not end; Postgres will say so
