"""auth.session() and its sisters: what policies ask."""

from __future__ import annotations

import json

from sidecar.postgres import installer
from tests.postgres.scoped import connected

CLAIMS: list[tuple[str | None, str, str | None, str | None]] = [
    (None, "null", None, None),
    ("", "null", None, None),
    ("{", "null", None, None),
    ("not json", "null", None, None),
    ('{"sub": "\\u0000"}', "null", None, None),
    ("null", "null", None, None),
    ("7", "7", None, None),
    ('"sub"', '"sub"', None, None),
    ('[{"sub": "alice"}]', '[{"sub": "alice"}]', None, None),
    ("{}", "{}", None, None),
    ('{"sub": null}', '{"sub": null}', None, None),
    ('{"sub": 7}', '{"sub": 7}', None, None),
    ('{"sub": {"a": 1}}', '{"sub": {"a": 1}}', None, None),
    ('{"sub": ""}', '{"sub": ""}', "", None),
    ('{"sub": "alice"}', '{"sub": "alice"}', "alice", None),
    *(
        (json.dumps({"sub": text}), json.dumps({"sub": text}), text, uuid)
        for text, uuid in {
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1": None,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 ": None,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\n": None,
        }.items()
    ),
]


async def test_the_functions_give_what_pg_session_jwt_gives_without_a_key(
    fresh_database_each_version: str,
) -> None:
    async with connected(fresh_database_each_version) as admin:
        await installer.install(admin, up_to=1)
        for claims, session, user_id, uid in CLAIMS:
            if claims is not None:
                await admin.execute("SELECT set_config('request.jwt.claims', $1, false)", claims)
            seen = await admin.fetchrow(
                "SELECT auth.session()::text, auth.jwt()::text, auth.user_id(), auth.uid()::text,"
                " auth.session() IS NULL"
            )
            assert tuple(seen) == (session, session, user_id, uid, False), claims


async def test_anybody_may_ask(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await installer.install(admin)
        await admin.execute("SET ROLE anonymous")
        assert await admin.fetchval("SELECT auth.user_id()") is None


async def test_no_search_path_leads_the_functions_astray(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        await installer.install(admin, up_to=1)
        await admin.execute(
            """
            CREATE SCHEMA evil;
            CREATE FUNCTION evil.liar(jsonb, text) RETURNS jsonb
              LANGUAGE sql AS $$SELECT '"mallory"'::jsonb$$;
            CREATE FUNCTION evil.liar_text(jsonb, text) RETURNS text LANGUAGE sql AS $$SELECT 'mallory'$$;
            CREATE OPERATOR evil.-> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil.liar);
            CREATE OPERATOR evil.->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil.liar_text);
            CREATE FUNCTION evil.jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS $$SELECT 'string'$$;
            CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT '{}'$$;
            SET search_path = evil, pg_catalog;
            SET request.jwt.claims = '{"sub": "alice"}';
            """
        )
        assert await admin.fetchval("SELECT auth.user_id()") == "alice"


POLICIES = (
    "(SELECT auth.user_id()) = owner",
    "(SELECT auth.session() ->> 'sub') = owner",
    "auth.session() ->> 'sub' = owner",
    "auth.jwt() ->> 'sub' = owner AND auth.uid() IS NULL",
)


async def test_policies_work_in_parallel_plans(fresh_database_each_version: str) -> None:
    """Before 16 auth.session() needs a subtransaction, which a parallel plan refuses even in its leader."""
    async with connected(fresh_database_each_version) as admin:
        await installer.install(admin, up_to=1)
        newer = admin.get_server_version().major >= 16
        await admin.execute(
            """
            CREATE TABLE many (id int, owner text);
            INSERT INTO many
              SELECT n, CASE WHEN n % 2 = 0 THEN 'alice' ELSE 'bob' END FROM generate_series(1, 5000) AS n;
            ALTER TABLE many ENABLE ROW LEVEL SECURITY;
            GRANT SELECT ON many TO authenticated;
            ANALYZE many;
            SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
            SET max_parallel_workers_per_gather = 2;
            SET request.jwt.claims = '{"sub": "alice"}';
            """
        )
        for policy in POLICIES:
            await admin.execute(
                f"RESET ROLE; CREATE POLICY own ON many USING ({policy}); SET ROLE authenticated"
            )
            counting = "SELECT count(*) FROM many"
            # Not fetchval: a statement with a row limit has no parallel workers.
            assert (await admin.fetch(counting))[0][0] == 2500, policy
            plan = "\n".join(row[0] for row in await admin.fetch(f"EXPLAIN (ANALYZE, COSTS off) {counting}"))
            assert ("Workers Launched: 2" in plan) is newer, policy
            await admin.execute("RESET ROLE; DROP POLICY own ON many")
