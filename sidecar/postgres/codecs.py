"""Connections whose values arrive and leave in forms that lose nothing.

asyncpg's own forms lose values: datetimes end at the year 9999 and fold infinities into it, intervals
become days, numerics lose their text. Here every type of `BUILTIN_TYPES` gets a codec at connect, without
a round trip; other types (enums, domains, composites, ranges, extensions) are looked up by OID when a
statement first uses them on a connection.

Forms between asyncpg and `values` / `parameters`:

| kind | asyncpg value |
|---|---|
| DATE | int, days since 2000-01-01 |
| TIME | int, microseconds since midnight |
| TIMESTAMP, TIMESTAMPTZ | int, microseconds since 2000-01-01 |
| ARRAY | list; str (the array literal) when the elements travel in text form |
| others | as in `core.values` |

The text form of types of KIND_OTHER follows session settings: DateStyle, IntervalStyle, TimeZone,
extra_float_digits and bytea_output (set at connect by the pool) and lc_monetary (the database's own).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import Column
from sidecar.postgres.builtin_types import BUILTIN_TYPES, RECORD_OID, TEXT_OID, PostgresType
from sidecar.postgres.claim_key import Challenge
from sidecar.postgres.exchange import Exchange
from sidecar.postgres.known_statements import KnownStatements
from sidecar.postgres.relay import Relay
from sidecar.postgres.user_types import DESCRIBE_TYPES, Described, described_type

# asyncpg's name of the built-in codec that a type borrows, and its format. The raw 64-bit and 32-bit
# integers of date/time types and the raw 16 bytes of uuid keep every value that Postgres can store.
_BORROWED_CODECS: Final = {
    1082: ("int4", "binary"),
    1083: ("int8", "binary"),
    1114: ("int8", "binary"),
    1184: ("int8", "binary"),
    1790: ("text", "text"),
    2275: ("text", "binary"),
    2950: ("bytea", "binary"),
}
_INTERVAL_OID: Final = 1186


class TypedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg carries no types
    """A connection with this module's codecs. Give it to asyncpg as `connection_class`."""

    types: dict[int, PostgresType]
    """The types known to this connection, by OID; domains map to their base type."""
    relay: Relay
    """By which several statements go in one round trip."""
    known: KnownStatements
    challenge: Challenge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.types = dict(BUILTIN_TYPES)
        _check_driver()
        self._intro_query = DESCRIBE_TYPES
        register_codecs(self)
        self.relay = Relay(self._protocol, self._transport)
        self.known = KnownStatements()
        self.challenge = Challenge()

    def is_in_transaction(self) -> bool:
        """See asyncpg."""
        return not self.relay.at_rest and super().is_in_transaction()

    async def _introspect_types(
        self, typeoids: Iterable[int], timeout: float | None
    ) -> tuple[list[dict[str, Any]], Any]:
        # asyncpg calls this when a statement uses types that it has no codec for. It runs DESCRIBE_TYPES.
        rows, statement = await super()._introspect_types(typeoids, timeout)
        described = []
        for row in rows:
            oid = row["oid"]
            self.types[oid] = described_type(
                Described(
                    oid=oid,
                    name=row["name"],
                    category=row["category"].decode(),
                    delimiter=row["delimiter"].decode(),
                    base_oid=row["base_oid"],
                    element_oid=row["element_oid"],
                ),
                self.types,
            )
            described.append(_as_asyncpg_row(oid, self.types[oid]))
        return described, statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A prepared statement with what callers and the converters need to know of it."""

    sql: str
    statement: Any
    """asyncpg's PreparedStatement."""
    parameter_oids: tuple[int, ...]
    """As Postgres named them; `parameter_types` has the base type of a domain."""
    columns: tuple[Column, ...]
    column_types: tuple[PostgresType, ...]
    parameter_types: tuple[PostgresType, ...]


async def prepare(
    connection: asyncpg.Connection[Any], sql: str, exchange: Exchange | None = None
) -> Prepared:
    """Prepares one statement, in one round trip with what is in the exchange.

    `connection` must be a TypedConnection, or a pool's proxy of one. Types that the connection meets for the
    first time cost further round trips, in the caller's transaction. Raises what asyncpg raises, and
    UsherError with DATA_EXCEPTION for a type without a text form.
    """
    # Unnamed: a named one would stay for a while, and the next user could read its text.
    statement = await connection.relay.run(exchange or Exchange(), connection.prepare(sql, name=""))
    types: dict[int, PostgresType] = connection.types
    attributes = statement.get_attributes()
    column_types = tuple(_known(types, attribute.type.oid) for attribute in attributes)
    parameter_oids = tuple(parameter.oid for parameter in statement.get_parameters())
    return Prepared(
        sql=sql,
        statement=statement,
        parameter_oids=parameter_oids,
        columns=columns_of([attribute.name for attribute in attributes], column_types),
        column_types=column_types,
        parameter_types=tuple(_known(types, oid) for oid in parameter_oids),
    )


def names_utf8(encoding: str) -> bool:
    """Whether a client_encoding is UTF-8. Postgres calls it UTF8; PgBouncer repeats what asyncpg asked for,
    with its quotes: 'utf-8'."""
    return encoding.strip("'").lower() in ("utf8", "utf-8")


def check_encoding(connection: asyncpg.Connection[Any]) -> None:
    """Raises UsherError where texts, which are sent as UTF-8, would be read as something else.

    Asked without a round trip.
    """
    if not names_utf8(connection.get_settings().client_encoding):
        raise UsherError(
            Reason.STATEMENT_INVALID, "an earlier statement of the transaction changed client_encoding"
        )


def columns_of(names: Sequence[str], types: Sequence[PostgresType]) -> tuple[Column, ...]:
    """The columns of a result as callers see them."""
    return tuple(
        Column(
            name=name,
            type_name=type_.name,
            type_oid=type_.oid,
            kind=type_.kind,
            element_kind=type_.element.kind if type_.element else None,
        )
        for name, type_ in zip(names, types, strict=True)
    )


def register_codecs(connection: asyncpg.Connection[Any]) -> None:
    """Gives the connection a codec for every built-in type. No I/O; TypedConnection calls it by itself.

    asyncpg's public set_type_codec refuses arrays, ranges and composites and asks the server first; hence
    the connection's private settings. Raises RuntimeError when an asyncpg release changed them.
    """
    try:
        settings = connection._protocol.get_settings()
        for type_ in BUILTIN_TYPES.values():
            codec, codec_format = _BORROWED_CODECS.get(type_.oid, ("text", "text"))
            if type_.text_form or type_.oid in _BORROWED_CODECS:
                settings.set_builtin_type_codec(
                    type_.oid, type_.name, "pg_catalog", "scalar", codec, codec_format
                )
        # (months, days, microseconds), in both directions.
        settings.add_python_codec(
            _INTERVAL_OID, "interval", "pg_catalog", [], "scalar", tuple, tuple, "tuple"
        )
        # Last, because each call above makes asyncpg forget arrays.
        settings.register_data_types(
            [_as_asyncpg_row(type_.oid, type_) for type_ in BUILTIN_TYPES.values() if type_.element]
        )
    except (AttributeError, TypeError) as error:
        raise _driver_changed() from error


def _as_asyncpg_row(oid: int, type_: PostgresType) -> dict[str, Any]:
    """The type in the form in which asyncpg's own introspection would describe it.

    asyncpg is told only of arrays and domains. What travels in text form is passed off as a domain over
    record, an enum as one over text: a domain has its base type's codec, and those two have ours.
    """
    row = dict.fromkeys(("ns", "elemtype", "elemdelim", "basetype", "range_subtype", "attrtypoids"))
    row |= {"oid": oid, "name": type_.name, "ns": ""}
    if type_.oid != oid:
        return row | {"kind": b"d", "basetype": type_.oid}
    if type_.element and not type_.text_form:
        return row | {"kind": b"b", "elemtype": type_.element.oid, "elemdelim": type_.element.delimiter}
    return row | {"kind": b"d", "basetype": RECORD_OID if type_.text_form else TEXT_OID}


def _known(types: dict[int, PostgresType], oid: int) -> PostgresType:
    try:
        return types[oid]
    except KeyError:
        raise UsherError(
            Reason.DATA_EXCEPTION,
            f"values of the type with OID {oid} cannot travel; cast them to text",
            {"type_oid": str(oid)},
        ) from None


def _check_driver() -> None:
    if not callable(getattr(asyncpg.Connection, "_introspect_types", None)) or not all(
        hasattr(asyncpg.Connection, name) for name in ("_intro_query", "_protocol", "_transport")
    ):
        raise _driver_changed()


def _driver_changed() -> RuntimeError:
    return RuntimeError(
        f"asyncpg {asyncpg.__version__} lacks the private calls that Usher registers codecs with; "
        "install the version that pyproject.toml pins"
    )
