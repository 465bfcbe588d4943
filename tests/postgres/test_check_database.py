"""Whether a database is fit for scoped statements, and the remedy when it is not."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.postgres import installer
from sidecar.postgres.check_database import check_database
from sidecar.postgres.codecs import TypedConnection
from sidecar.postgres.pool import OutdatedError
from sidecar.postgres.scoped_backend import ClaimSettings
from sidecar.postgres.session_keys import with_session_key
from tests.postgres.scoped import (
    ALICE,
    Place,
    as_role,
    connected,
    key_of,
    make_login,
    query,
    refusal,
    rows,
    running_backend,
    set_up,
)
from tests.session_jwt import extension
from tests.session_jwt.extension import REAL

INSERT = "insert into notes select n, null, 'b' from generate_series(1, 50) as n returning id"


async def verdict(dsn: str, **settings: Any) -> str | None:
    async with connected(dsn) as connection:
        chosen = ClaimSettings(**({"shared_login": True} | settings))
        return await check_database(connection, chosen, key_of(dsn))


async def test_a_database_set_up_by_the_installer_is_fit(fresh_database_each_version: str) -> None:
    own = await set_up(fresh_database_each_version)
    assert await verdict(own.login) is None
    async with running_backend(own.login) as backend:
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        cut = await query(backend, ALICE, INSERT, max_rows=2)
        assert (cut.truncated, cut.command_tag) == (True, "INSERT 0 50")
        assert (await refusal(backend, ALICE, "select 1; select 2")).reason is Reason.MULTIPLE_STATEMENTS
        refused = await refusal(backend, ALICE, "insert into users values ('globex', 'm', 'm', 'm')")
        assert refused.reason is Reason.ROW_LEVEL_SECURITY


async def test_a_login_that_sessions_share_is_refused_unless_that_is_accepted(place: Place) -> None:
    assert "shared_login" in (await verdict(place.login, shared_login=False) or "")
    assert await verdict(place.login) is None


async def test_logins_of_the_installer_are_nobodys_but_their_sessions(own_place: Place) -> None:
    async with connected(own_place.admin) as admin:
        password = await installer.make_logins(admin, "usher_own", 2)
    dsn = re.sub(r"//[^@]*@", f"//usher_own_1:{password}@", own_place.admin)
    assert await verdict(dsn, shared_login=False) is None


async def test_the_login_itself_needs_nothing_in_the_schema_auth(own_place: Place) -> None:
    async with connected(own_place.admin) as admin:
        await admin.execute(
            "REVOKE USAGE ON SCHEMA auth FROM PUBLIC; GRANT USAGE ON SCHEMA auth TO authenticated"
        )
        await make_login(admin, "usher_lean", "NOINHERIT")
        await admin.execute("GRANT authenticated, usher_login TO usher_lean")
        assert await verdict(as_role(own_place.admin, "usher_lean")) is None


async def test_a_superuser_is_refused_unless_that_is_accepted(place: Place) -> None:
    assert "superuser" in (await verdict(place.admin) or "")
    assert await verdict(place.admin, allow_privileged_login=True) is None


async def test_an_empty_database_is_unfit(fresh_database: str) -> None:
    assert "usher db install" in (await verdict(fresh_database) or "")


@pytest.mark.parametrize(
    ("change", "undo", "complaint"),
    [
        (
            "REVOKE authenticated FROM usher_stranger",
            "SELECT",
            "may not become the role authenticated",
        ),
        (
            "GRANT authenticated TO usher_stranger WITH SET FALSE",  # since 16
            "REVOKE authenticated FROM usher_stranger",
            "may not become the role authenticated",
        ),
        (
            "REVOKE USAGE ON SCHEMA auth FROM PUBLIC",
            "GRANT USAGE ON SCHEMA auth TO PUBLIC",
            "may not use the schema auth",
        ),
        ("ALTER ROLE authenticated BYPASSRLS", "ALTER ROLE authenticated NOBYPASSRLS", "no policy applies"),
        ("ALTER ROLE usher_stranger BYPASSRLS", "ALTER ROLE usher_stranger NOBYPASSRLS", "may become"),
        (
            "CREATE ROLE usher_mighty BYPASSRLS; GRANT usher_mighty TO usher_stranger",
            "DROP ROLE usher_mighty",
            "may become",
        ),
        (
            "CREATE ROLE usher_editor; GRANT usher_editor TO usher_stranger;"
            "GRANT CREATE ON SCHEMA public TO usher_editor",
            "REVOKE CREATE ON SCHEMA public FROM usher_editor; DROP ROLE usher_editor",
            "may become the role usher_editor, which may create tables in the schema public",
        ),
        ("ALTER FUNCTION auth.user_id() RENAME TO whoever", "SELECT", "are missing"),
        (
            "ALTER TABLE users OWNER TO authenticated",
            "ALTER TABLE users OWNER TO CURRENT_USER",
            "owns the table",
        ),
        (
            "ALTER TABLE users OWNER TO usher_stranger",
            "ALTER TABLE users OWNER TO CURRENT_USER",
            "the login owns the table public.users",
        ),
        (
            "CREATE OR REPLACE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE"
            " AS $$SELECT current_setting('request.jwt.claims')::jsonb$$",
            "SELECT",
            "believes forged claims",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "may create tables in the schema public",
        ),
        ("ALTER FUNCTION usher.claims() RENAME TO whoever", "SELECT", "usher.claims() is missing"),
        ("REVOKE usher_login FROM usher_stranger", "SELECT", "no member of usher_login"),
        ("DELETE FROM usher.claim_key", "SELECT", "does not know claim_key"),
    ],
)
async def test_what_makes_a_database_unfit_is_said(
    own_place: Place, change: str, undo: str, complaint: str
) -> None:
    stranger = as_role(own_place.admin, "usher_stranger")
    async with connected(own_place.admin) as admin:
        await make_login(admin, "usher_stranger")
        await admin.execute("GRANT authenticated, usher_login TO usher_stranger")
        assert await verdict(stranger) is None
        await admin.execute(change)
        try:
            assert complaint in (await verdict(stranger) or "")
        finally:
            await admin.execute(undo)


async def test_an_owner_is_fit_where_the_policies_are_forced_on_owners(own_place: Place) -> None:
    async with connected(own_place.admin) as admin:
        await admin.execute("ALTER TABLE users OWNER TO authenticated")
        async with running_backend(own_place.login, ready=False) as backend:
            with pytest.raises(UsherError):
                await backend.who_am_i(ALICE)
        await admin.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
        assert await verdict(own_place.login) is None
        async with running_backend(own_place.login) as backend:
            assert (await backend.who_am_i(ALICE)).row_security_applies
            assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
            await admin.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
            assert not (await backend.who_am_i(ALICE)).row_security_applies
        await admin.execute("ALTER TABLE users OWNER TO CURRENT_USER")


LIARS = {
    "another jti": ("auth.session() RETURNS jsonb", """'{"jti": 99}'::jsonb"""),
    "plain claims too": (
        "auth.user_id() RETURNS text",
        "coalesce(auth.session() ->> 'sub',"
        " nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub')",
    ),
    "always alice": ("auth.user_id() RETURNS text", "'alice'"),
    "always nobody": ("auth.user_id() RETURNS text", "NULL::text"),
}


@pytest.mark.skipif(bool(REAL), reason="the extension would have to be made anew")
@pytest.mark.parametrize(("function", "told"), LIARS.values(), ids=LIARS)
async def test_an_extension_that_believes_what_is_forged_is_found_by_trying(
    fresh_database: str, function: str, told: str
) -> None:
    own = await set_up(fresh_database, first=extension.create)
    async with connected(own.admin) as admin:
        await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
        session = await with_session_key(asyncpg.connect, own.login, "authenticated")(
            own.login, connection_class=TypedConnection
        )
        chosen = ClaimSettings(shared_login=True)
        assert await check_database(session, chosen, None) is None
        await admin.execute(f"CREATE OR REPLACE FUNCTION {function} LANGUAGE sql STABLE AS $$SELECT {told}$$")
        try:
            assert "auth." in (await check_database(session, chosen, None) or "")
        finally:
            await session.close()


async def test_a_session_from_before_the_extension_came_or_went_is_outdated(extensible: str) -> None:
    async with connected(extensible) as admin:
        for change in ("installed", "dropped"):
            session = await with_session_key(asyncpg.connect, extensible, "postgres")(
                extensible, connection_class=TypedConnection
            )
            if change == "installed":
                await extension.create(admin)
            else:
                await admin.execute("DROP EXTENSION pg_session_jwt")
            try:
                with pytest.raises(OutdatedError, match=f"was {change} meanwhile"):
                    await check_database(session, ClaimSettings(shared_login=True), None)
            finally:
                await session.close()


async def test_a_database_without_the_extension_needs_a_claim_key(place: Place) -> None:
    async with connected(place.login) as connection:
        verdict = await check_database(connection, ClaimSettings(shared_login=True), None)
    assert "claim_key is not set" in (verdict or "")


async def test_a_role_that_does_not_exist_is_said(place: Place) -> None:
    assert "nosuchrole does not exist" in (await verdict(place.login, role="nosuchrole") or "")
