"""The types that every Postgres has, by their fixed OIDs (pg_type.dat of the Postgres sources).

Because these OIDs never change, a connection knows all of them without asking the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.core.values import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresType:
    """One Postgres type: how its values travel to Postgres and how they appear to callers."""

    oid: int
    name: str
    """As in pg_type ("int8", "text[]"). Types outside pg_catalog carry their schema ("app.mood")."""
    kind: Kind
    text_form: bool = False
    """Whether values travel in the type's Postgres text form; in the binary form otherwise."""
    element: PostgresType | None = None
    """For arrays, the type of the elements."""
    delimiter: str = ","
    """What stands between elements in the text form of an array of this type."""


# OID, name, kind, OID of the array type. These travel in binary form.
_BINARY: Final = (
    (16, "bool", Kind.BOOL, 1000),
    (17, "bytea", Kind.BYTES, 1001),
    (19, "name", Kind.TEXT, 1003),
    (20, "int8", Kind.INT, 1016),
    (21, "int2", Kind.INT, 1005),
    (23, "int4", Kind.INT, 1007),
    (25, "text", Kind.TEXT, 1009),
    (26, "oid", Kind.INT, 1028),
    (28, "xid", Kind.INT, 1011),
    (29, "cid", Kind.INT, 1012),
    (114, "json", Kind.JSON, 199),
    (142, "xml", Kind.TEXT, 143),
    (700, "float4", Kind.FLOAT, 1021),
    (701, "float8", Kind.FLOAT, 1022),
    (1042, "bpchar", Kind.TEXT, 1014),
    (1043, "varchar", Kind.TEXT, 1015),
    (1082, "date", Kind.DATE, 1182),
    (1083, "time", Kind.TIME, 1183),
    (1114, "timestamp", Kind.TIMESTAMP, 1115),
    (1184, "timestamptz", Kind.TIMESTAMPTZ, 1185),
    (1186, "interval", Kind.INTERVAL, 1187),
    (2275, "cstring", Kind.TEXT, 1263),
    (2950, "uuid", Kind.UUID, 2951),
    (3802, "jsonb", Kind.JSON, 3807),
)

# These travel in text form. An array OID of 0 means that there is no array type.
# xid8, oid8 and pg_lsn are unsigned 64-bit numbers, which do not fit the signed KIND_INT.
_TEXT_FORM: Final = (
    (18, '"char"', Kind.TEXT, 1002),
    (705, "unknown", Kind.TEXT, 0),
    (1700, "numeric", Kind.NUMERIC, 1231),
    (1790, "refcursor", Kind.TEXT, 2201),
    (22, "int2vector", Kind.OTHER, 1006),
    (24, "regproc", Kind.OTHER, 1008),
    (27, "tid", Kind.OTHER, 1010),
    (30, "oidvector", Kind.OTHER, 1013),
    (194, "pg_node_tree", Kind.OTHER, 0),
    (600, "point", Kind.OTHER, 1017),
    (601, "lseg", Kind.OTHER, 1018),
    (602, "path", Kind.OTHER, 1019),
    (603, "box", Kind.OTHER, 1020),
    (604, "polygon", Kind.OTHER, 1027),
    (628, "line", Kind.OTHER, 629),
    (650, "cidr", Kind.OTHER, 651),
    (718, "circle", Kind.OTHER, 719),
    (774, "macaddr8", Kind.OTHER, 775),
    (790, "money", Kind.OTHER, 791),
    (829, "macaddr", Kind.OTHER, 1040),
    (869, "inet", Kind.OTHER, 1041),
    (1033, "aclitem", Kind.OTHER, 1034),
    (1266, "timetz", Kind.OTHER, 1270),
    (1560, "bit", Kind.OTHER, 1561),
    (1562, "varbit", Kind.OTHER, 1563),
    (2202, "regprocedure", Kind.OTHER, 2207),
    (2203, "regoper", Kind.OTHER, 2208),
    (2204, "regoperator", Kind.OTHER, 2209),
    (2205, "regclass", Kind.OTHER, 2210),
    (2206, "regtype", Kind.OTHER, 2211),
    (2249, "record", Kind.OTHER, 2287),
    (2277, "anyarray", Kind.OTHER, 0),
    (2970, "txid_snapshot", Kind.OTHER, 2949),
    (3220, "pg_lsn", Kind.OTHER, 3221),
    (3361, "pg_ndistinct", Kind.OTHER, 0),
    (3402, "pg_dependencies", Kind.OTHER, 0),
    (3614, "tsvector", Kind.OTHER, 3643),
    (3615, "tsquery", Kind.OTHER, 3645),
    (3642, "gtsvector", Kind.OTHER, 3644),
    (3734, "regconfig", Kind.OTHER, 3735),
    (3769, "regdictionary", Kind.OTHER, 3770),
    (3904, "int4range", Kind.OTHER, 3905),
    (3906, "numrange", Kind.OTHER, 3907),
    (3908, "tsrange", Kind.OTHER, 3909),
    (3910, "tstzrange", Kind.OTHER, 3911),
    (3912, "daterange", Kind.OTHER, 3913),
    (3926, "int8range", Kind.OTHER, 3927),
    (4072, "jsonpath", Kind.OTHER, 4073),
    (4089, "regnamespace", Kind.OTHER, 4090),
    (4096, "regrole", Kind.OTHER, 4097),
    (4191, "regcollation", Kind.OTHER, 4192),
    (4451, "int4multirange", Kind.OTHER, 6150),
    (4532, "nummultirange", Kind.OTHER, 6151),
    (4533, "tsmultirange", Kind.OTHER, 6152),
    (4534, "tstzmultirange", Kind.OTHER, 6153),
    (4535, "datemultirange", Kind.OTHER, 6155),
    (4536, "int8multirange", Kind.OTHER, 6157),
    (4600, "pg_brin_bloom_summary", Kind.OTHER, 0),
    (4601, "pg_brin_minmax_multi_summary", Kind.OTHER, 0),
    (5017, "pg_mcv_list", Kind.OTHER, 0),
    (5038, "pg_snapshot", Kind.OTHER, 5039),
    (5069, "xid8", Kind.OTHER, 271),
    (6437, "oid8", Kind.OTHER, 0),
    (6490, "regdatabase", Kind.OTHER, 0),
)

TEXT_OID: Final = 25
RECORD_OID: Final = 2249
VOID_OID: Final = 2278

# The only built-in type whose elements are not separated by commas: a box has commas inside.
_DELIMITERS: Final = {603: ";"}


def _builtin_types() -> dict[int, PostgresType]:
    # What a function without a result returns; it has no value, so it always appears as NULL.
    types = {VOID_OID: PostgresType(oid=VOID_OID, name="void", kind=Kind.OTHER)}
    for rows, text_form in ((_BINARY, False), (_TEXT_FORM, True)):
        for oid, name, kind, array_oid in rows:
            element = PostgresType(
                oid=oid, name=name, kind=kind, text_form=text_form, delimiter=_DELIMITERS.get(oid, ",")
            )
            types[oid] = element
            if array_oid:
                types[array_oid] = array_of(element, array_oid)
    return types


def array_of(element: PostgresType, oid: int) -> PostgresType:
    """The array type `oid` over `element`.

    An array of arrays (possible over a domain whose base type is an array) has no form of its own on the
    wire; it appears in its Postgres text form.
    """
    name = f"{element.name}[]"
    if element.kind is Kind.ARRAY:
        return PostgresType(oid=oid, name=name, kind=Kind.OTHER, text_form=True)
    return PostgresType(oid=oid, name=name, kind=Kind.ARRAY, text_form=element.text_form, element=element)


BUILTIN_TYPES: Final = _builtin_types()
"""Every built-in type whose values can appear in a result or as a parameter, by OID."""
