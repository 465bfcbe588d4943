"""The stock backend on a real server: what only it has. tests/backends has all that backends share."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.postgres.pool import Pool
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import ALICE, LOGIN


async def test_identity_ends_with_the_transaction(backend: SignedClaimsBackend, pool: Pool) -> None:
    look = "SELECT current_user::text, current_setting('statement_timeout')"
    async with pool.lease() as connection:
        await backend.enter(connection, ALICE, 7.5, read_only=False)
        assert tuple(await connection.fetchrow(look)) == ("authenticated", "7500ms")
        assert await connection.fetchval("SELECT auth.user_id()") == "alice"
        await backend._commit(connection, may_have_written=True)
        # Before anything is scrubbed.
        assert tuple(await connection.fetchrow(look)) == (LOGIN, "0")
        with pytest.raises(asyncpg.PostgresError, match="no claims are set"):
            await connection.fetchval("SELECT auth.session()")
