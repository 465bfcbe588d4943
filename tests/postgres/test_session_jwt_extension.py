"""Where pg_session_jwt is installed, its functions are used and nothing of Usher's shadows them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.postgres import installer
from sidecar.postgres.check_database import check_database
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from tests.postgres.scoped import ALICE, SHARED, as_role, connected, make_key, make_login, running_backend
from tests.servers import VERSIONS, Servers
from tests.session_jwt import extension
from tests.session_jwt.extension import REAL

SIGNED = ClaimSettings(shared_login=True, identity=Identity.SIGNED_CLAIMS)
UNSIGNED = ClaimSettings(shared_login=True, identity=Identity.SIGNED_CLAIMS, unsigned_claims=True)
FUNCTIONS = "SELECT oid, xmin, proname FROM pg_proc WHERE pronamespace = to_regnamespace('auth') ORDER BY 1"


@pytest.fixture(params=VERSIONS[-1:] if REAL else VERSIONS, ids=lambda version: f"pg{version}")
def extended(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address of a database with the extension and nothing else."""
    with extension.database(postgres_servers, request.param) as dsn:
        postgres_servers.run(extension.create_at(dsn))
        yield dsn


async def test_the_extensions_functions_are_not_touched(extended: str) -> None:
    async with connected(extended) as admin:
        await make_login(admin, "usher_app")
        of_the_extension = await admin.fetch(FUNCTIONS)
        assert len(await installer.install(admin, "usher_app")) == len(installer.scripts())
        assert await installer.install(admin, "usher_app") == []
        assert await admin.fetch(FUNCTIONS) == of_the_extension

        app = as_role(extended, "usher_app")
        async with connected(app) as login:
            key = await make_key(admin, extended)
            # A session without a key, by mistake or by wish.
            assert "-pooler" in (await check_database(login, SHARED, key) or "")
            assert "unsigned_claims" in (await check_database(login, SIGNED, key) or "")
            # The extension grants nothing by itself.
            assert "GRANT USAGE ON SCHEMA auth" in (await check_database(login, UNSIGNED, key) or "")
            await admin.execute("GRANT USAGE ON SCHEMA auth TO authenticated")
            assert await check_database(login, UNSIGNED, key) is None
        async with running_backend(app, settings=UNSIGNED) as backend:
            seen = await backend.who_am_i(ALICE)
            assert (seen.user_id, backend.kind) == ("alice", "postgres")
        async with running_backend(app, keyed=True) as backend:
            seen = await backend.who_am_i(ALICE)
            assert (seen.user_id, backend.kind) == ("alice", "pg_session_jwt")

        # When it goes, installing again brings Usher's own.
        await admin.execute("DROP EXTENSION pg_session_jwt")
        assert len(await installer.install(admin, "usher_app")) == len(installer.scripts())
        assert await admin.fetchval("SELECT auth.uid() IS NULL AND auth.session()::text = 'null'")
        assert await installer.install(admin, "usher_app") == []


async def test_uninstalling_leaves_the_extension_alone(extended: str) -> None:
    async with connected(extended) as admin:
        await installer.install(admin)
        await installer.uninstall(admin)
        assert await admin.fetchval("SELECT auth.session()::text") == "null"
        assert await admin.fetchval("SELECT to_regnamespace('usher') IS NULL")
