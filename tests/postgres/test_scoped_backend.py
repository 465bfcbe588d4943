"""What backends on a Postgres connection share; tests/backends has all that can be seen from outside."""

from __future__ import annotations

import asyncpg
import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.signed_claims import SignedClaimsBackend


async def test_the_commit_of_a_failed_transaction_is_no_success(
    backend: SignedClaimsBackend, pool: Pool
) -> None:
    async with pool.lease() as connection:
        await connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(UsherError) as refused:
            await backend._commit(connection, may_have_written=True)
    assert refused.value.reason is Reason.DATABASE_ERROR


@pytest.mark.parametrize("role", ["", "none", "NONE"])
def test_a_role_that_cannot_be_is_refused(role: str) -> None:
    with pytest.raises(SettingsError, match="database_role"):
        ClaimSettings(role=role).validate()


def test_the_usual_settings_are_valid_and_look_for_the_extension() -> None:
    settings = ClaimSettings()
    settings.validate()
    assert settings.identity is Identity.AUTO
