"""What a connection remembers of statements, and that a changed schema is noticed in time."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.values import Kind, Parameter
from sidecar.postgres.known_statements import LONGEST_TEXT, MOST_STATEMENTS, Known, KnownStatements
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import ALICE, Place, connected, query, refusal, rows, running_backend

SOMETHING: Any = None


def test_the_one_used_longest_ago_makes_room() -> None:
    known = KnownStatements()
    entry = Known(prepared=SOMETHING, described=b"")
    for number in range(MOST_STATEMENTS):
        known.keep("r", str(number), entry)
    assert known.find("r", "0") is entry
    known.keep("r", "new", entry)
    assert known.find("r", "1") is None
    assert known.find("r", "0") is entry
    assert len(known) == MOST_STATEMENTS


def test_another_role_knows_nothing_of_it() -> None:
    known = KnownStatements()
    known.keep("r", "x", Known(prepared=SOMETHING, described=b""))
    assert known.find("s", "x") is None
    known.forget("r", "x")
    assert known.find("r", "x") is None


def test_a_long_text_is_not_kept() -> None:
    known = KnownStatements()
    known.keep("r", "x" * (LONGEST_TEXT + 1), Known(prepared=SOMETHING, described=b""))
    assert len(known) == 0


CHANGES = {
    "another type": ("ALTER TABLE changing ALTER n TYPE text USING 'seven'", [("seven",)]),
    "another type as wide": ("ALTER TABLE changing ALTER n TYPE oid USING 7::oid", [(7,)]),
    "a column more": ("ALTER TABLE changing ADD m text DEFAULT 'm'", [(7, "m")]),
    "another table": (
        "DROP TABLE changing; CREATE TABLE changing (m text); INSERT INTO changing VALUES ('x');"
        "GRANT SELECT ON changing TO authenticated",
        [("x",)],
    ),
}


@pytest.fixture
async def changing(own_place: Place) -> Any:
    async with connected(own_place.admin) as admin, running_backend(own_place.login, max_size=1) as backend:
        await admin.execute(
            "CREATE TABLE changing (n int); INSERT INTO changing VALUES (7);"
            "GRANT SELECT, INSERT ON changing TO authenticated"
        )
        yield backend, admin


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
async def test_a_read_gives_what_there_is_after_the_change(
    changing: tuple[SignedClaimsBackend, asyncpg.Connection], change: str, expected: list[Any]
) -> None:
    backend, admin = changing
    for _ in range(2):
        assert rows(await query(backend, ALICE, "select * from changing")) == [(7,)]
    await admin.execute(change)
    assert rows(await query(backend, ALICE, "select * from changing")) == expected


async def test_a_parameter_is_never_read_as_another_type(
    changing: tuple[SignedClaimsBackend, asyncpg.Connection],
) -> None:
    """The bytes of an int4 are valid text."""
    backend, admin = changing
    number = Parameter(Kind.INT, 0x41424344)
    sql = "insert into changing values ($1)"
    for _ in range(2):
        await query(backend, ALICE, sql, number)
    await admin.execute("DELETE FROM changing; ALTER TABLE changing ALTER n TYPE text")
    await query(backend, ALICE, sql, number)
    assert await admin.fetchval("SELECT n FROM changing") == str(0x41424344)


async def test_a_table_that_is_gone_is_an_error_as_it_was(
    changing: tuple[SignedClaimsBackend, asyncpg.Connection],
) -> None:
    backend, admin = changing
    await query(backend, ALICE, "select * from changing")
    await admin.execute("DROP TABLE changing")
    refused = await refusal(backend, ALICE, "select * from changing")
    assert refused.reason is Reason.UNDEFINED_OBJECT
    assert refused.metadata["position"] == "15"
