"""Named statements: the header, the checks at start, and the catalog."""

from __future__ import annotations

import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.statements import Catalog, NamedColumn, NamedStatement, parse

GOOD = """\
-- The orders of one customer, newest first.
-- name: orders_of_customer
-- params: customer uuid, most int4
-- result: id uuid, total numeric, tags text[]
-- read_only: true

SELECT id, total, tags FROM orders WHERE customer_id = $1 -- name: not a header
LIMIT $2;
"""


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(text, "s.sql", 10_000)
    return str(caught.value)


def test_a_file() -> None:
    assert parse(GOOD, "s.sql", 10_000) == NamedStatement(
        name="orders_of_customer",
        sql=GOOD,
        params=(NamedColumn("customer", "uuid"), NamedColumn("most", "int4")),
        result=(NamedColumn("id", "uuid"), NamedColumn("total", "numeric"), NamedColumn("tags", "text[]")),
        read_only=True,
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_the_least_file(ending: str) -> None:
    assert parse(f"-- name: one{ending}select 1", "s.sql", 100) == NamedStatement(
        name="one", sql=f"-- name: one{ending}select 1"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the header needs a line `-- name: my_statement`"),
        ("select 1\n-- name: late", "1: the header needs"),
        ("-- name:\nselect 1", "1: the header needs"),
        ("-- name: Orders\nselect 1", "1: name: use a lower case letter"),
        ("-- name: a b\nselect 1", "1: name: use"),
        ("-- name: a\n-- nmae: b\nselect 1", "2: there is no header nmae; did you mean name?"),
        ("-- name: a\n-- zzzz: b\nselect 1", "2: there is no header zzzz; the header knows"),
        ("-- name: a\n-- name: b\nselect 1", "2: name is given twice"),
        ("-- name: a\n-- read_only: yes\nselect 1", "2: read_only: write true or false"),
        ("-- name: a\n-- params: id\nselect $1", "2: params: write `name type"),
        ("-- name: a\n-- params: id int, id int\nselect $1, $2", "2: params: names a column twice"),
        ("-- name: a\n-- result: x\nselect 1", "2: result: write `name type"),
        ("-- name: a\n\nselect $1", "3: sql: uses 1 parameters ($1, $2, ...), and params declares 0"),
        ("-- name: a\n-- params: x int\nselect '$1'", "3: sql: uses 0 parameters"),
        ("-- name: a\nselect 1; select 2", "2: sql: holds more than one statement"),
        ("-- name: a\nselect 1;\ncommit", "2: sql: holds more than one statement"),
        ("-- name: a\nselect 'x", "2: sql: a string does not end"),
        ("-- name: a\ncopy t to stdout", "2: sql: only SELECT"),
        ("-- name: a\n", "2: sql: holds no statement"),
        ("-- name: a\nselect 1\0", "2: sql: must not hold a NUL"),
        ("-- name: a\nselect " + "1" * 10_000, "2: sql: is longer than 10000 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, expected: str) -> None:
    assert refusal(text).startswith(f"s.sql:{expected}")


def test_the_catalog() -> None:
    one = NamedStatement(name="one", sql="select 1")
    catalog = Catalog([one])
    assert catalog.names == {"one"}
    assert catalog.find("one") is one
    with pytest.raises(UsherError) as caught:
        catalog.find("hostile text")
    assert caught.value.reason is Reason.NAMED_STATEMENT_UNKNOWN
    assert "hostile" not in caught.value.message
    assert Catalog().names == frozenset()
