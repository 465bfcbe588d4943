"""Types that a database has beside the built-in ones: what is asked of them, and what the answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sidecar.core.values import Kind
from sidecar.postgres.builtin_types import BUILTIN_TYPES, PostgresType, array_of

DESCRIBE_TYPES: Final = """
WITH RECURSIVE reached(oid, depth) AS (
    SELECT asked.oid, 0
    FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS asked(oid)
  UNION ALL
    SELECT part.oid, reached.depth OPERATOR(pg_catalog.+) 1
    FROM reached
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) reached.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS part(oid)
    WHERE part.oid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
)
SELECT
    t.oid AS oid,
    CASE WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.name
         THEN pg_catalog.quote_ident(t.typname::pg_catalog.text)
         ELSE pg_catalog.format('%I.%I', n.nspname, t.typname) END AS name,
    t.typtype AS category,
    t.typdelim AS delimiter,
    t.typbasetype AS base_oid,
    e.oid AS element_oid
FROM (SELECT oid, pg_catalog.max(depth) AS depth FROM reached GROUP BY oid) AS r
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) r.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type AS e
    ON e.oid OPERATOR(pg_catalog.=) t.typelem AND e.typarray OPERATOR(pg_catalog.=) t.oid
ORDER BY r.depth DESC
"""
"""What asyncpg and Usher need to know of types, parts before wholes. A true array is one that its element
type names as its array type; point, box and others have a typelem but are no arrays.

Every name is qualified, operators too: it runs as the caller's role and with the caller's search_path, and
what it finds is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One row of DESCRIBE_TYPES. `category` is pg_type.typtype, `element_oid` an array's only."""

    oid: int
    name: str
    category: str
    delimiter: str
    base_oid: int
    element_oid: int | None


def described_type(row: Described, known: Mapping[int, PostgresType]) -> PostgresType:
    """The type that a row describes, a domain's base type. `known` holds its parts already."""
    if (builtin := BUILTIN_TYPES.get(row.oid)) is not None:
        return builtin
    if row.category == "d":
        return known[row.base_oid]
    if row.element_oid:
        return array_of(known[row.element_oid], row.oid)
    is_enum = row.category == "e"
    return PostgresType(
        oid=row.oid,
        name=row.name,
        kind=Kind.TEXT if is_enum else Kind.OTHER,
        text_form=not is_enum,
        delimiter=row.delimiter,
    )
