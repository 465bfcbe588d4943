"""Where pg_session_jwt is installed, its functions are used and nothing of Usher's shadows them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.postgres import installer
from sidecar.postgres.check_database import check_database
from sidecar.postgres.signed_claims import ClaimSettings
from tests.postgres.scoped import ALICE, SHARED, as_role, connected, make_key, make_login, running_backend
from tests.servers import temporary_folder

# A stand-in: what counts for the installer is the extension's name and schema.
CONTROL = "default_version = '0.3.1'\nrelocatable = false\nsuperuser = false\n"
EXTENSION = """
CREATE SCHEMA auth;
CREATE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE AS
  $$SELECT coalesce(nullif(current_setting('request.jwt.claims', true), ''), 'null')::jsonb$$;
CREATE FUNCTION auth.user_id() RETURNS text LANGUAGE sql STABLE AS $$SELECT auth.session() ->> 'sub'$$;
"""
UNSIGNED = ClaimSettings(shared_login=True, unsigned_claims=True)
FUNCTIONS = "SELECT oid, xmin, proname FROM pg_proc WHERE pronamespace = to_regnamespace('auth') ORDER BY 1"


@pytest.fixture
def extension_folder() -> Iterator[Path]:
    """A folder, readable to the server, with a stand-in for the extension."""
    folder = temporary_folder()
    folder.chmod(0o755)
    (folder / "extension").mkdir(mode=0o755)
    for name, text in {"pg_session_jwt.control": CONTROL, "pg_session_jwt--0.3.1.sql": EXTENSION}.items():
        (folder / "extension" / name).write_text(text)
        (folder / "extension" / name).chmod(0o644)
    yield folder
    shutil.rmtree(folder)


async def test_the_extensions_functions_are_not_touched(fresh_database: str, extension_folder: Path) -> None:
    async with connected(fresh_database) as admin:
        await make_login(admin, "usher_app")
        # Since 18 a superuser may say where extensions are.
        await admin.execute(f"SET extension_control_path = '{extension_folder}:$system'")
        await admin.execute("CREATE EXTENSION pg_session_jwt")
        of_the_extension = await admin.fetch(FUNCTIONS)
        assert len(await installer.install(admin, "usher_app")) == 3
        assert await installer.install(admin, "usher_app") == []
        assert await admin.fetch(FUNCTIONS) == of_the_extension

        app = as_role(fresh_database, "usher_app")
        async with connected(app) as login:
            # The extension grants nothing by itself, and the complaint is not that it is missing.
            key = await make_key(admin, fresh_database)
            assert "unsigned_claims" in (await check_database(login, SHARED, key) or "")
            assert "GRANT USAGE ON SCHEMA auth" in (await check_database(login, UNSIGNED, key) or "")
            await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
            assert await check_database(login, UNSIGNED, key) is None
        async with running_backend(app, settings=UNSIGNED) as backend:
            seen = await backend.who_am_i(ALICE)
            assert (seen.user_id, backend.kind) == ("alice", "postgres")

        # When it goes, installing again brings Usher's own.
        await admin.execute("DROP EXTENSION pg_session_jwt")
        assert len(await installer.install(admin, "usher_app")) == 3
        assert await admin.fetchval("SELECT auth.uid() IS NULL AND auth.session()::text = 'null'")
        assert await installer.install(admin, "usher_app") == []


async def test_uninstalling_leaves_the_extension_alone(fresh_database: str, extension_folder: Path) -> None:
    async with connected(fresh_database) as admin:
        await admin.execute(f"SET extension_control_path = '{extension_folder}:$system'")
        await admin.execute("CREATE EXTENSION pg_session_jwt")
        await installer.install(admin)
        await installer.uninstall(admin)
        assert await admin.fetchval("SELECT auth.session()::text") == "null"
        assert await admin.fetchval("SELECT to_regnamespace('usher') IS NULL")
