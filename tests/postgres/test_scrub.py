"""What goes on between two users of a session, when the scrub is not as usual."""

from __future__ import annotations

import pytest

from sidecar.core.events import ConnectionDiscarded, DatabaseStateChanged
from sidecar.postgres.check_database import check_database
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import (
    ALICE,
    SHARED,
    Place,
    Watcher,
    connected,
    key_of,
    query,
    rows,
    running_pool,
)

NO_NUMBER = """
CREATE OR REPLACE FUNCTION usher.next_challenge() RETURNS bigint LANGUAGE sql AS 'SELECT NULL::bigint'
"""
NO_WRITES = "SELECT set_config('default_transaction_read_only', 'on', false)"


async def test_a_session_that_is_given_no_number_costs_no_slot(own_place: Place) -> None:
    watcher = Watcher()
    async with (
        connected(own_place.admin) as admin,
        running_pool(own_place.login, max_size=1, observer=watcher) as pool,
    ):
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(own_place.admin)))
        await query(backend, ALICE, "SELECT 1")
        async with pool.lease():
            await admin.execute(NO_NUMBER)
        await watcher.until(lambda: watcher.of(ConnectionDiscarded) != [])
        assert rows(await query(backend, ALICE, "SELECT 1")) == [(1,)]


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_session_whose_user_asked_for_no_writes_has_its_number(place: Place, read_only: bool) -> None:
    watcher = Watcher()
    async with running_pool(place.login, max_size=1, observer=watcher) as pool:
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)))
        for _ in range(2):
            await query(backend, ALICE, NO_WRITES, read_only=read_only)
        async with pool.lease() as connection:
            assert connection.challenge.number is not None
            assert await connection.fetchval("SHOW default_transaction_read_only") == "off"
    assert watcher.of(ConnectionDiscarded) == []


async def test_a_look_is_not_misled_by_a_transaction_that_was_ended_by_the_scrub(place: Place) -> None:
    watcher = Watcher()
    async with running_pool(place.login, max_size=1, observer=watcher) as pool:
        key = key_of(place.admin)
        backend = SignedClaimsBackend(pool, SHARED, CurrentKey(key))
        await query(backend, ALICE, "SELECT 1", read_only=True)
        async with pool.lease() as connection:
            assert await check_database(connection, SHARED, key) is None
    assert len(watcher.of(DatabaseStateChanged)) == 1
