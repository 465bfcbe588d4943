"""Installing the key store: once, again, back, and as an administrator who is no superuser."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import SettingsError
from sidecar.postgres import key_installer
from sidecar.postgres.key_installer import EDGE, SIDECAR
from tests.postgres.scoped import as_role, connected, make_login

OBJECTS = """
SELECT count(*) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'usher_keys'
"""


async def test_installed_once_and_taken_back(fresh_database_each_version: str) -> None:
    async with connected(fresh_database_each_version) as admin:
        assert [step.version for step in await key_installer.install(admin)] == [1]
        assert await key_installer.install(admin) == []
        assert not await key_installer.has_keys(admin)
        assert await admin.fetchval(OBJECTS) > 4
        assert [step.version for step in await key_installer.uninstall(admin)] == [1]
        assert await admin.fetchval("SELECT to_regnamespace('usher_keys')") is None
        assert await key_installer.uninstall(admin) == []


async def test_what_is_printed_can_be_run_twice(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        for _ in range(2):
            await admin.execute(key_installer.printable())
        assert await key_installer.install(admin) == []


async def test_an_administrator_need_not_be_a_superuser(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await make_login(admin, "usher_test_admin", "CREATEROLE")
        name = fresh_database.rpartition("/")[2]
        await admin.execute(f"GRANT CREATE ON DATABASE {name} TO usher_test_admin")
        # The roles are the cluster's; whoever made them first may grant them.
        for role in (SIDECAR, EDGE):
            if await admin.fetchval("SELECT to_regrole($1) IS NOT NULL", role):
                await admin.execute(f"GRANT {role} TO usher_test_admin WITH ADMIN OPTION")
    async with connected(as_role(fresh_database, "usher_test_admin")) as lesser:
        await key_installer.install(lesser)
        await key_installer.make_login(lesser, "usher_test_keyring_2", SIDECAR)


async def test_a_newer_key_store_is_left_alone(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await key_installer.install(admin)
        await admin.execute("INSERT INTO usher_keys.schema_version VALUES (99, 'of_tomorrow')")
        for act in (key_installer.install, key_installer.uninstall):
            with pytest.raises(SettingsError, match="version 99"):
                await act(admin)


@pytest.mark.parametrize("name", ["", "Upper", 'a"b', "a b", "x" * 64, SIDECAR, EDGE])
async def test_names_that_no_login_can_have(fresh_database: str, name: str) -> None:
    async with connected(fresh_database) as admin:
        with pytest.raises(SettingsError, match="login"):
            await key_installer.make_login(admin, name, SIDECAR)


async def test_a_new_password_replaces_the_old(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await key_installer.install(admin)
        old = await key_installer.make_login(admin, "usher_test_keyring", SIDECAR)
        new = await key_installer.make_login(admin, "usher_test_keyring", SIDECAR)
    host = fresh_database.rpartition("@")[2]
    async with connected(f"postgresql://usher_test_keyring:{new}@{host}") as connection:
        assert await connection.fetchval("SELECT count(*) FROM usher_keys.key") == 0
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://usher_test_keyring:{old}@{host}")
