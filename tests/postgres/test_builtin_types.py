"""The table of built-in types against the catalogue of the real server and asyncpg's own list."""

from __future__ import annotations

from sidecar.core.values import Kind
from sidecar.postgres.builtin_types import BUILTIN_TYPES

CATALOGUE = """
SELECT t.oid, t.typname, t.typarray, t.typdelim::text
FROM pg_catalog.pg_type t
WHERE t.oid < 10000 AND t.typtype IN ('b', 'r', 'm') AND t.typnamespace = 'pg_catalog'::regnamespace
"""


def test_every_built_in_type_of_the_server_is_known(database) -> None:
    _, (oids, names, array_oids, delimiters) = database.run(CATALOGUE)
    names_by_oid = dict(zip(oids, names, strict=True))
    assert set(oids) - set(BUILTIN_TYPES) - {210, 270, 272, 273} == set()  # arrays of catalogue rows
    for oid, name, array_oid, delimiter in zip(oids, names, array_oids, delimiters, strict=True):
        if oid not in BUILTIN_TYPES:
            continue
        known = BUILTIN_TYPES[oid]
        assert known.name.removesuffix("[]").strip('"') == name.removeprefix("_"), name
        if known.element is None:
            assert known.delimiter == delimiter
        if array_oid:
            element = BUILTIN_TYPES[array_oid].element
            assert element is not None
            assert element.oid == oid, f"{names_by_oid[array_oid]} is not the array type of {name}"


def test_arrays_say_what_they_are_made_of() -> None:
    for type_ in BUILTIN_TYPES.values():
        assert (type_.kind is Kind.ARRAY) == (type_.element is not None)
        if type_.element is not None:
            assert type_.text_form == type_.element.text_form
