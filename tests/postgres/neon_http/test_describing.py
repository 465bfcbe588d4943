"""What is learned of types, and how often it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.values import Kind
from sidecar.postgres.neon_http import describing
from sidecar.postgres.neon_http.describing import Describer
from tests.neon.standing import Standing
from tests.postgres.scoped import ALICE, CAROL, connected, query, refusal, rows

TYPES = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE kept (m mood);
GRANT ALL ON kept TO authenticated;
"""


@pytest.fixture
async def admin(neon_database: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(neon_database) as admin:
        await admin.execute(TYPES)
        yield admin
        await admin.execute("DROP TABLE kept; DROP TYPE mood, pair; DROP DOMAIN small")


def asked(there: Standing) -> int:
    """Requests since the last time."""
    count = len(there.endpoint.asked)
    there.endpoint.asked.clear()
    return count


async def test_parameters_are_asked_for_once_a_statement_and_role(there: Standing) -> None:
    asked(there)
    for who in (ALICE, CAROL, ALICE):
        await query(there.backend, who, "select $1::int", "1")
    assert asked(there) == 4
    await query(there.backend, ALICE, "select $1::int8", "1")
    assert asked(there) == 2
    await query(there.backend, ALICE, "select 1")
    assert asked(there) == 1


async def test_what_is_longest_unused_is_forgotten(there: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_REMEMBERED", 2)
    describer = Describer(there.exchange)
    for sql in ("select $1::int", "select $1::text", "select $1::int", "select $1::bool"):
        await describer.signature(ALICE, sql)
    asked(there)
    await describer.signature(ALICE, "select $1::int")
    assert asked(there) == 0
    await describer.signature(ALICE, "select $1::text")
    assert asked(there) == 1


async def test_a_statement_that_is_wrong_fails_before_it_runs_and_is_not_kept(there: Standing) -> None:
    sql = "insert into nowhere values ($1)"
    for _ in range(2):
        asked(there)
        assert (await refusal(there.backend, ALICE, sql, "x")).reason is Reason.UNDEFINED_OBJECT
        assert asked(there) == 1
    two = await refusal(there.backend, ALICE, "select $1; delete from notes", "x")
    assert two.reason is Reason.MULTIPLE_STATEMENTS


async def test_types_of_the_database_keep_their_kinds(there: Standing, admin: asyncpg.Connection) -> None:
    sql = (
        "select 'happy'::mood as m, '{happy,NULL}'::mood[] as ms, 5::small as s, '(1,x)'::pair as p,"
        " 7::int8 as n, '{\"(1,x)\"}'::pair[] as ps"
    )
    result = await query(there.backend, ALICE, sql)
    assert rows(result) == [("happy", ["happy", None], 5, "(1,x)", 7, ["(1,x)"])]
    assert [(column.type_name, column.kind, column.element_kind) for column in result.columns] == [
        ("public.mood", Kind.TEXT, None),
        ("public.mood[]", Kind.ARRAY, Kind.TEXT),
        ("int4", Kind.INT, None),
        ("public.pair", Kind.OTHER, None),
        ("int8", Kind.INT, None),
        ("public.pair[]", Kind.ARRAY, Kind.OTHER),
    ]
    oid = await admin.fetchval("SELECT 'mood'::regtype::oid")
    assert result.columns[0].type_oid == oid
    asked(there)
    await query(there.backend, ALICE, sql)
    assert asked(there) == 1


async def test_parameters_of_such_types(there: Standing, admin: asyncpg.Connection) -> None:
    sql = "insert into kept values ($1) returning m, array[m, $1]"
    assert rows(await query(there.backend, ALICE, sql, "sad")) == [("sad", ["sad", "sad"])]
    assert (await refusal(there.backend, ALICE, sql, "s3cret")).reason is Reason.DATA_EXCEPTION


async def test_a_domain_over_an_array_and_a_literal_of_no_type(
    there: Standing, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE DOMAIN smalls AS small[]")
    try:
        assert rows(await query(there.backend, ALICE, "select '{1,2}'::smalls, 'x', null")) == [
            ([1, 2], "x", None)
        ]
    finally:
        await admin.execute("DROP DOMAIN smalls")
