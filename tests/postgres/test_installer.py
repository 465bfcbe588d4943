"""The installer on each version of Postgres: once, again, at once, without a superuser, and back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.postgres import installer
from sidecar.postgres.audit import Severity, audit
from sidecar.postgres.check_database import check_database
from tests.postgres.scoped import (
    ALICE,
    SHARED,
    as_role,
    connected,
    key_of,
    make_key,
    make_login,
    query,
    rows,
    running_backend,
    until,
)

ROLES = ("authenticated", "anonymous", "usher_login", "usher_verifier")

OBJECTS = """
SELECT string_agg(pg_describe_object(classid, objid, objsubid), ', ' ORDER BY 1)
FROM (SELECT 'pg_proc'::regclass AS classid, oid AS objid, 0 AS objsubid FROM pg_proc
      WHERE pronamespace = to_regnamespace('auth')
      UNION ALL SELECT 'pg_namespace'::regclass, oid, 0 FROM pg_namespace WHERE nspname IN ('auth', 'usher')
      UNION ALL SELECT 'pg_class'::regclass, oid, 0 FROM pg_class
      WHERE relnamespace = to_regnamespace('usher')
     ) AS found
"""


async def test_installing_again_does_nothing(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        assert await installer.installed_version(admin) == 0
        assert [script.version for script in await installer.install(admin)] == [1, 2, 3]
        made = await admin.fetchval(OBJECTS)
        assert await installer.install(admin) == []
        assert await installer.installed_version(admin) == 3
        assert await admin.fetchval(OBJECTS) == made


async def test_what_is_printed_does_the_same_and_may_be_repeated(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        await make_login(admin, "usher_printed")
        for _ in range(2):
            await admin.execute(installer.printable("usher_printed"))
        assert await installer.install(admin) == []
        assert await admin.fetchval("SELECT pg_has_role('usher_printed', 'authenticated', 'MEMBER')")
        assert not admin.is_in_transaction()


async def test_installers_at_once_wait_for_each_other(fresh_database: str) -> None:
    async def one() -> int:
        async with connected(fresh_database) as admin:
            # Even where a transaction sees only what was there when it began.
            await admin.execute("SET default_transaction_isolation = serializable")
            return len(await installer.install(admin))

    assert sorted(await asyncio.gather(*(one() for _ in range(5)))) == [0, 0, 0, 0, 3]


@asynccontextmanager
async def roles_put_aside(admin: asyncpg.Connection) -> AsyncIterator[None]:
    """For the block, the server's roles of Usher have other names, as if there were none."""
    for role in ROLES:
        if await admin.fetchval("SELECT to_regrole($1) IS NOT NULL", role):
            await admin.execute(f"ALTER ROLE {role} RENAME TO {role}_aside")
    try:
        yield
    finally:
        for role in ROLES:
            if await admin.fetchval("SELECT to_regrole($1) IS NOT NULL", role):
                await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
            if await admin.fetchval("SELECT to_regrole($1) IS NOT NULL", f"{role}_aside"):
                await admin.execute(f"ALTER ROLE {role}_aside RENAME TO {role}")


async def test_an_owner_with_createrole_can_install(fresh_database_each_version: str) -> None:
    name = fresh_database_each_version.rpartition("/")[2]
    async with connected(fresh_database_each_version) as superuser, roles_put_aside(superuser):
        await make_login(superuser, "usher_owner", "CREATEROLE")
        await make_login(superuser, "usher_app")
        await superuser.execute(f"ALTER DATABASE {name} OWNER TO usher_owner")
        async with connected(as_role(fresh_database_each_version, "usher_owner")) as owner:
            assert len(await installer.install(owner, "usher_app")) == 3
            assert await installer.install(owner, "usher_app") == []
            await make_key(owner, fresh_database_each_version)
            # The owner is nobody special to Usher's promises, and can check them.
            assert [one for one in await audit(owner) if one.severity is Severity.ERROR] == []
            await owner.execute("CREATE SCHEMA app; SET search_path = app")
            await owner.execute(installer.demo_script())
            await owner.execute("GRANT USAGE ON SCHEMA app TO authenticated")
            await owner.execute(f"ALTER DATABASE {name} SET search_path = app")
        app = as_role(fresh_database_each_version, "usher_app")
        async with connected(app) as login:
            assert await check_database(login, SHARED, key_of(app)) is None
        async with running_backend(app) as backend:
            assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        async with connected(as_role(fresh_database_each_version, "usher_owner")) as owner:
            await owner.execute("DROP SCHEMA app CASCADE")
            assert len(await installer.uninstall(owner)) == 3
        await superuser.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")


async def test_roles_of_somebody_else_are_used_as_they_are(fresh_database: str) -> None:
    """Two databases of a server share their roles; the second installer finds those of the first."""
    async with connected(fresh_database) as superuser, roles_put_aside(superuser):
        await superuser.execute("CREATE ROLE authenticated NOLOGIN CONNECTION LIMIT 7")
        await installer.install(superuser)
        assert (
            await superuser.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'authenticated'") == 7
        )


async def test_a_role_that_may_not_be_granted_changes_nothing(fresh_database: str) -> None:
    async with connected(fresh_database) as superuser:
        await installer.install(superuser)  # the roles are the superuser's now
        await installer.uninstall(superuser)
        await make_login(superuser, "usher_owner", "CREATEROLE")
        await make_login(superuser, "usher_other")
        await superuser.execute(f"ALTER DATABASE {fresh_database.rpartition('/')[2]} OWNER TO usher_owner")
        async with connected(as_role(fresh_database, "usher_owner")) as owner:
            with pytest.raises(UsherError, match="permission denied to grant role") as refused:
                await installer.install(owner, "usher_other")
            assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE
            assert await owner.fetchval(OBJECTS) is None
        await superuser.execute("REASSIGN OWNED BY usher_owner TO CURRENT_USER")


@pytest.mark.parametrize("login", ['we"ird', "with space", "sa@project.iam", "MiXed", "ünïcode"])
async def test_logins_may_have_any_name(fresh_database: str, login: str) -> None:
    quoted = '"' + login.replace('"', '""') + '"'
    async with connected(fresh_database) as admin:
        await admin.execute(f"CREATE ROLE {quoted} LOGIN")
        try:
            await installer.install(admin, login)
            assert await admin.fetchval("SELECT pg_has_role($1, 'authenticated', 'MEMBER')", login)
            assert f"TO {quoted};" in installer.printable(login)
        finally:
            await admin.execute(f"DROP ROLE {quoted}")


@pytest.mark.parametrize("login", ["", "x" * 64, "ü" * 32, "a\nb", "a\0b"])
def test_what_cannot_be_a_login_is_refused(login: str) -> None:
    with pytest.raises(SettingsError, match="login role"):
        installer.printable(login)


async def test_a_login_that_does_not_exist_changes_nothing(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        with pytest.raises(UsherError, match="usher_nobody"):
            await installer.install(admin, "usher_nobody")
        assert await admin.fetchval(OBJECTS) is None


async def test_uninstalling_leaves_nothing_but_the_roles(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        assert await installer.uninstall(admin) == []
        await installer.install(admin)
        assert [script.version for script in await installer.uninstall(admin)] == [3, 2, 1]
        assert await admin.fetchval(OBJECTS) is None
        assert await admin.fetchval("SELECT to_regrole('authenticated') IS NOT NULL")
        assert [script.version for script in await installer.install(admin)] == [1, 2, 3]


async def test_a_policy_keeps_the_function_that_it_rests_on(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await installer.install(admin)
        await admin.execute(installer.demo_script())
        with pytest.raises(UsherError, match="depend") as refused:
            await installer.uninstall(admin)
        assert refused.value.metadata["sqlstate"] == "2BP01"
        assert await installer.installed_version(admin) == 3


async def test_what_others_have_in_the_schemas_stays(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await installer.install(admin)
        await admin.execute("CREATE TABLE auth.mine (x int); CREATE FUNCTION auth.session(int) RETURNS int "
                            "LANGUAGE sql AS 'SELECT 1'")  # fmt: skip
        await installer.uninstall(admin)
        assert await admin.fetchval("SELECT to_regclass('auth.mine') IS NOT NULL")
        assert await admin.fetchval("SELECT auth.session(0)") == 1


async def test_a_function_of_somebody_else_is_not_replaced(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await admin.execute(
            "CREATE SCHEMA auth; CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'"
        )
        with pytest.raises(UsherError, match=r"auth\.uid\(\) is there already"):
            await installer.install(admin)
        assert await installer.installed_version(admin) == 0
        await admin.execute("DROP FUNCTION auth.uid()")
        await installer.install(admin)
        await installer.uninstall(admin)
        # The schema was there before.
        assert await admin.fetchval("SELECT to_regnamespace('auth') IS NOT NULL")


async def test_a_database_of_a_newer_usher_is_left_alone(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await installer.install(admin)
        await admin.execute("INSERT INTO usher.schema_version (version, name) VALUES (9999, 'later')")
        for act in (installer.install, installer.uninstall):
            with pytest.raises(SettingsError, match="9999"):
                await act(admin)
        assert await admin.fetchval("SELECT auth.session()::text") == "null"


async def test_objects_that_lie_in_wait_are_not_called(fresh_database: str) -> None:
    """An administrator's search_path may lead through schemas in which others create functions."""
    async with connected(fresh_database) as admin:
        await admin.execute(
            """
            CREATE FUNCTION public.format(text, VARIADIC text[]) RETURNS text
              LANGUAGE sql AS $$SELECT 'a trap'$$;
            CREATE FUNCTION public.now() RETURNS timestamptz
              LANGUAGE plpgsql AS $$BEGIN RAISE 'a trap'; END$$;
            CREATE FUNCTION public.to_regclass(text) RETURNS regclass
              LANGUAGE plpgsql AS $$BEGIN RAISE 'a trap'; END$$;
            SET search_path = public, pg_catalog;
            """
        )
        await installer.install(admin)
        assert await admin.fetchval("SELECT count(*) FROM usher.schema_version") == 3


async def test_the_demo_may_be_loaded_again(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        await installer.install(admin)
        for _ in range(2):
            await admin.execute(installer.demo_script())
        assert await admin.fetchval("SELECT count(*) FROM users") == 4
        assert await admin.fetchval("SELECT count(*) FROM pg_policies") == 8


async def test_connecting_says_what_is_wrong() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UsherError, match="is it running") as refused:
            await installer.connect(f"postgresql://u:secret@127.0.0.1:{free.getsockname()[1]}/db")
    assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
    with pytest.raises(SettingsError, match="database_url") as wrong:
        await installer.connect("mysql://u:secret@h/d")
    assert "secret" not in str(wrong.value)


async def test_the_installers_connection_is_named(postgres_dsn: str) -> None:
    connection: Any = await installer.connect(postgres_dsn)
    try:
        await until(connection, "SELECT current_setting('application_name') = 'usher-db'")
    finally:
        await connection.close()
