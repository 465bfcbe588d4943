"""What goes on between two users of a session, when the scrub is not as usual."""

from __future__ import annotations

from sidecar.core.events import ConnectionDiscarded
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
