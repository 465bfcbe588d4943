"""What Postgres sees in a scope, asked on a connection that has become the scope's."""

from __future__ import annotations

from sidecar.postgres.pool import Pool
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.who_am_i import seen_identity
from tests.postgres.scoped import ALICE, LOGIN, scope


async def test_it_is_seen_from_inside_the_scope(backend: SignedClaimsBackend, pool: Pool) -> None:
    async with pool.lease() as connection:
        await backend.enter(connection, ALICE, 5.0, read_only=True)
        seen = await seen_identity(connection, ALICE)
        assert (seen.role, seen.login_role, seen.user_id) == ("authenticated", LOGIN, "alice")
        assert seen.row_security_applies
        assert seen.claims_age is not None


async def test_claims_without_a_time_have_no_age(backend: SignedClaimsBackend, pool: Pool) -> None:
    ageless = scope("alice", iat=None)
    async with pool.lease() as connection:
        await backend.enter(connection, ageless, 5.0, read_only=True)
        assert (await seen_identity(connection, ageless)).claims_age is None
