"""Queries, transactions and streams on one pool, cancelled and killed at any moment: nothing is mixed up."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from sidecar.core.errors import UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.pool import Pool
from sidecar.postgres.sessions import Pooling
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import (
    LOGIN,
    PATIENCE,
    SHARED,
    Place,
    connected,
    key_of,
    query,
    rows,
    running_pool,
    scope,
    statement,
    transact,
    until,
)
from tests.postgres.streams import Taken, stream

USERS = 8
CALLS = 25
LEAVES_BEHIND = """
SELECT set_config('app.who', auth.user_id(), false), set_config('search_path', 'pg_temp', false),
  set_config('role', 'none', false), set_config('statement_timeout', '0', false), pg_advisory_lock(42)
"""
SEEN = """
SELECT auth.user_id(), current_user::text, coalesce(current_setting('app.who', true), ''),
  current_setting('search_path'),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
WIDENS = """
SELECT auth.user_id(), repeat('x', CASE WHEN n < 300 THEN 10 ELSE 300000 END) FROM generate_series(1, 340) n
"""
END_SOME = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND random() < 0.4"


class Load:
    """Users that each check that all they see is theirs."""

    def __init__(self, backend: SignedClaimsBackend, seed: int) -> None:
        self._backend = backend
        self._random = random.Random(seed)
        self.checked = 0

    async def user(self, number: int) -> None:
        """One user's calls, some of which are cancelled, once or twice."""
        who = scope(f"user{number}", tenant_id="acme")
        for _ in range(CALLS):
            call = asyncio.create_task(self._call(who, self._random.randrange(6)))
            if self._random.random() < 0.4:
                for _ in range(self._random.randrange(60)):
                    await asyncio.sleep(0)
                call.cancel()
                if self._random.random() < 0.3:
                    await asyncio.sleep(0)
                    call.cancel()
            (ended,) = await asyncio.gather(call, return_exceptions=True)
            assert ended is None or isinstance(ended, UsherError | asyncio.CancelledError), ended

    async def _call(self, who: Scope, kind: int) -> None:
        clean = (who.subject, "authenticated", "", '"$user", public', 0)
        if kind == 0:
            await query(self._backend, who, LEAVES_BEHIND)
        elif kind == 1:
            await query(self._backend, who, "SELECT pg_sleep(60)", timeout=0.02)
        elif kind == 2:
            _, seen = await transact(self._backend, who, LEAVES_BEHIND, SEEN)
            assert rows(seen)[0][:2] == clean[:2]
        elif kind == 3:
            await transact(self._backend, who, LEAVES_BEHIND, statement("SELECT 1 / 0"))
        elif kind == 4:
            taken = await stream(self._backend, who, WIDENS, into=Taken(row_bytes=50_000))
            assert {row[0] for row in taken.rows} == {who.subject}
        else:
            assert rows(await query(self._backend, who, SEEN)) == [clean]
            self.checked += 1


async def ended_now_and_then(admin: asyncpg.Connection, times: int) -> None:
    """Sessions are ended under whoever has them."""
    for _ in range(times):
        await admin.execute(END_SOME.replace("$1", f"'{LOGIN}'"))
        for _ in range(500):
            await asyncio.sleep(0)


async def renewed_now_and_then(pool: Pool, times: int) -> None:
    for _ in range(times):
        await pool._connections.renew()
        await pool._connections.tidy()
        for _ in range(500):
            await asyncio.sleep(0)


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize("seed", [1, 2])
async def test_nobody_meets_another_and_no_connection_is_lost(
    place: Place, pooling: Pooling, seed: int
) -> None:
    async with (
        connected(place.admin) as admin,
        running_pool(place.login, max_size=3, acquire_timeout=PATIENCE, pooling=pooling) as pool,
    ):
        load = Load(SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)), pooling), seed)
        users = [asyncio.create_task(load.user(number)) for number in range(USERS)]
        async with asyncio.timeout(10 * PATIENCE):
            await asyncio.gather(*users, ended_now_and_then(admin, 10), renewed_now_and_then(pool, 10))
        assert load.checked > 0
        while pool._returning:
            await asyncio.gather(*pool._returning)
        assert pool.state.in_use == 0
        # All of them can be had, and there are no more of them.
        async with pool.lease(), pool.lease(), pool.lease():
            assert pool.state.size == 3
        await until(admin, "SELECT count(*) <= 3 FROM pg_stat_activity WHERE usename = $1", LOGIN)
