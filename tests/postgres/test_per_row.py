"""Policies that ask for claims once a row, and their better form."""

from __future__ import annotations

import pytest

from sidecar.postgres.per_row import once_a_statement
from tests.postgres.scoped import connected

CASES = {
    "(owner = auth.user_id())": "(owner = (SELECT auth.user_id()))",
    "((auth.session() ->> 'a'::text) = tenant)": "(((SELECT auth.session()) ->> 'a'::text) = tenant)",
    "(( SELECT auth.user_id() AS user_id) = owner)": None,
    "(( SELECT (auth.session() ->> 'a'::text)) = owner)": None,
    "((( SELECT auth.uid() AS uid) = a) OR (b = auth.uid()))": (
        "((( SELECT auth.uid() AS uid) = a) OR (b = (SELECT auth.uid())))"
    ),
    "(x = ' auth.uid() ( '' auth.uid()'::text)": None,
    '("auth.uid()" = ")"::text)': None,
    "(x = E'\\\\'' auth.uid()'::text)": None,
    "(my_auth.session() = other.user_id())": None,
    "true": None,
}


@pytest.mark.parametrize(("expression", "better"), CASES.items())
def test_free_calls_move_into_sub_selects(expression: str, better: str | None) -> None:
    assert once_a_statement(expression) == (better or expression)
    assert once_a_statement(better or expression) == (better or expression), "and stay there"


async def test_postgres_takes_what_it_printed_and_we_changed(postgres_dsn: str) -> None:
    printed = "(a = auth.user_id()) AND (a <> E'it''s \\\\ (')"
    async with connected(postgres_dsn) as connection:
        await connection.execute(
            "BEGIN; CREATE SCHEMA auth; CREATE TABLE t (a text);"
            "CREATE FUNCTION auth.user_id() RETURNS text STABLE RETURN 'x'"
        )
        await connection.execute(f"CREATE POLICY p ON t USING ({printed})")
        look = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 't'::regclass"
        better = once_a_statement(await connection.fetchval(look))
        await connection.execute(f"ALTER POLICY p ON t USING ({better})")
        again = await connection.fetchval(look)
        assert "SELECT auth.user_id()" in again
        assert once_a_statement(again) == again
        await connection.execute("ROLLBACK")
