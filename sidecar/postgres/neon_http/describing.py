"""What types a statement's parameters and columns have, asked of Postgres and remembered.

`POST /sql` infers the types of parameters and does not tell them, and it tells no type that a database has
of its own. The first are asked before a statement runs, the second when a result shows one; both are kept by
role and statement.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.array_literals import parse_array
from sidecar.postgres.builtin_types import BUILTIN_TYPES, PostgresType
from sidecar.postgres.neon_http.answers import UNKNOWN_OID, Result
from sidecar.postgres.neon_http.batch import Query, batch_of_queries
from sidecar.postgres.neon_http.exchange import Exchange
from sidecar.postgres.user_types import DESCRIBE_TYPES, Described, described_type

_REMEMBERED: Final = 1024
_SECONDS: Final = 10.0
_PREPARE: Final = "PREPARE usher_described AS "
_FIND: Final = """
SELECT p.parameter_types::pg_catalog.oid[]::pg_catalog.text,
       (SELECT pg_catalog.array_agg(t.name::pg_catalog.regtype::pg_catalog.oid ORDER BY t.number)
        FROM pg_catalog.jsonb_array_elements_text(
          nullif(pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->) 'result_types'::pg_catalog.text, 'null')
        ) WITH ORDINALITY AS t(name, number))::pg_catalog.text
FROM pg_catalog.pg_prepared_statements AS p
WHERE p.name OPERATOR(pg_catalog.=) 'usher_described'::pg_catalog.text
"""
"""Only Postgres 16 and later have result_types; by JSON the query is one for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The types of a statement; `columns` is empty where Postgres does not tell them."""

    parameters: tuple[PostgresType, ...]
    columns: tuple[PostgresType, ...]


class Describer:
    """Asks with the scope at hand; what it learns is the same for all who have its role."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._signatures: OrderedDict[bytes, Signature] = OrderedDict()
        self._types: dict[int, PostgresType] = dict(BUILTIN_TYPES)

    async def signature(self, scope: Scope, sql: str) -> Signature:
        """The types of a statement's parameters and columns. Raises UsherError."""
        # Not the text itself, which may be long and hold what nobody need keep.
        key = hashlib.sha256(f"{scope.role}\0{sql}".encode()).digest()
        found = self._signatures.get(key)
        if found is None:
            found = await self._ask(scope, sql)
            self._signatures[key] = found
            if len(self._signatures) > _REMEMBERED:
                self._signatures.popitem(last=False)
        else:
            self._signatures.move_to_end(key)
        return found

    async def columns(self, scope: Scope, sql: str, result: Result) -> tuple[PostgresType, ...]:
        """The types of a result's columns. Raises UsherError."""
        if UNKNOWN_OID not in result.oids:
            return await self._known(scope, result.oids)
        told = (await self.signature(scope, sql)).columns
        if len(told) != len(result.oids):
            # Postgres 15 and earlier: the text that Neon gave is all that is known.
            return await self._known(scope, result.oids)
        plain = await self._known(scope, result.oids)
        return tuple(
            type_ if type_.oid != UNKNOWN_OID else asked for type_, asked in zip(plain, told, strict=True)
        )

    async def _ask(self, scope: Scope, sql: str) -> Signature:
        queries = [Query(sql=_PREPARE + sql), Query(sql=_FIND), Query(sql="DEALLOCATE usher_described")]
        found = await self._send(scope, queries, prefix=len(_PREPARE))
        parameters, columns = found[1].rows[0]
        oids = [
            [int(oid or 0) for oid in parse_array(text)] if text else [] for text in (parameters, columns)
        ]
        types = await self._known(scope, [*oids[0], *oids[1]])
        return Signature(parameters=types[: len(oids[0])], columns=types[len(oids[0]) :])

    async def _known(self, scope: Scope, oids: Sequence[int]) -> tuple[PostgresType, ...]:
        missing = sorted(set(oids) - self._types.keys())
        if missing:
            query = Query(sql=DESCRIBE_TYPES, parameters=("{" + ",".join(map(str, missing)) + "}",))
            (described,) = await self._send(scope, [query])
            for row in described.rows:
                type_ = _described(row)
                self._types[type_.oid] = described_type(type_, self._types)
        for oid in oids:
            if oid not in self._types:
                raise UsherError(
                    Reason.DATA_EXCEPTION,
                    f"values of the type with OID {oid} cannot travel; cast them to text",
                    {"type_oid": str(oid)},
                )
        return tuple(self._types[oid] for oid in oids)

    async def _send(self, scope: Scope, queries: Sequence[Query], prefix: int = 0) -> list[Result]:
        batch = batch_of_queries(queries, _SECONDS, self._exchange.seed(), prefix)
        return await self._exchange.send(scope, batch, _SECONDS, read_only=True)


def _described(row: Sequence[str | None]) -> Described:
    """One row of DESCRIBE_TYPES, all of it text."""
    oid, name, category, delimiter, base, element = row
    return Described(
        oid=int(oid or 0),
        name=str(name),
        category=str(category),
        delimiter=str(delimiter),
        base_oid=int(base or 0),
        element_oid=int(element) if element else None,
    )
