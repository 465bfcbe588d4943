"""The pool through the life of its server: away, not set up, there, killed, back; and its own end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.events import DatabaseStateChanged
from sidecar.postgres import installer
from sidecar.postgres.errors import DRIVER_ERRORS
from tests.fakes import FakeClock
from tests.postgres.scoped import (
    LOGIN,
    PATIENCE,
    Place,
    Watcher,
    as_role,
    connected,
    make_login,
    no_lease,
    running_pool,
    set_up,
    until,
)
from tests.servers import Servers

GONE = """
SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()
"""
WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def test_a_database_that_is_away_is_asked_again_and_again() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://u:secret@127.0.0.1:{free.getsockname()[1]}/db"
        clock, watcher = FakeClock(), Watcher()
        async with running_pool(nobody, clock=clock, observer=watcher, ready=False) as pool:
            assert (await no_lease(pool)).reason is Reason.DATABASE_UNAVAILABLE
            await watcher.until(lambda: watcher.of(DatabaseStateChanged) != [])
            assert watcher.of(DatabaseStateChanged) == [
                DatabaseStateChanged(
                    reachable=False, detail="the database refuses the connection; is it running?"
                )
            ]
            refused = await no_lease(pool)
            assert refused.reason is Reason.DATABASE_UNAVAILABLE
            assert pool.trouble is not None
            assert pool.trouble in refused.message
            assert pool.state == type(pool.state)(0, 0, 0)


class LoggedClock(FakeClock):
    """A clock that never wakes anybody after the sleep of the given number, and tells when that began."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.slept: list[float] = []
        self.enough = asyncio.Event()
        self._last = last

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self._last:
            self.enough.set()
            await asyncio.Event().wait()


async def test_the_times_between_attempts_grow() -> None:
    clock = LoggedClock(6)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://127.0.0.1:{free.getsockname()[1]}/db"
        async with running_pool(nobody, clock=clock, ready=False), asyncio.timeout(PATIENCE):
            await clock.enough.wait()
    assert clock.slept == [0.5, 1, 2, 4, 5, 5]


async def test_a_database_that_is_not_set_up_is_refused_until_it_is(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        await make_login(admin, LOGIN)
    clock, watcher = FakeClock(), Watcher()
    async with running_pool(
        as_role(fresh_database, LOGIN), clock=clock, observer=watcher, ready=False
    ) as pool:
        await watcher.until(lambda: "missing" in (pool.trouble or ""))
        assert (await no_lease(pool)).reason is Reason.DATABASE_NOT_INSTALLED
        await set_up(fresh_database)
        await clock.advance(0.5)
        await watcher.until(lambda: pool.trouble is None)
        async with pool.lease():
            pass
        connection = await installer.connect(fresh_database)
        await connection.execute("DROP TABLE users, tenants")
        await installer.uninstall(connection)
        await connection.close()
        await clock.advance(5)
        await watcher.until(lambda: pool.trouble is not None)
        assert (await no_lease(pool)).reason is Reason.DATABASE_NOT_INSTALLED


@pytest.fixture
def mortal_server() -> Iterator[Any]:
    """A server that a test may stop and start."""
    servers = Servers()
    yield servers[18]
    servers.close()


async def test_the_pool_lives_through_the_death_of_its_server(mortal_server: Any) -> None:
    server = mortal_server
    place = await set_up(server.superuser_dsn())
    await server.stop()
    clock, watcher = FakeClock(), Watcher()
    async with running_pool(
        place.login, clock=clock, observer=watcher, ready=False, min_size=2, max_size=3
    ) as pool:
        await watcher.until(lambda: "is it running" in (pool.trouble or ""))
        await server.start()
        await clock.advance(0.5)
        await watcher.until(lambda: pool.trouble is None)

        with pytest.raises(DRIVER_ERRORS):  # noqa: PT012
            async with pool.lease() as connection:
                stopping = asyncio.create_task(server.stop())
                await connection.execute("SELECT pg_sleep(60)")
        await stopping
        # What was fit before is tried at once, and the attempt says what is wrong.
        assert (await no_lease(pool)).reason is Reason.DATABASE_UNAVAILABLE
        assert pool.trouble is not None

        await server.start()
        async with pool.lease() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await clock.advance(5)
        await watcher.until(lambda: pool.trouble is None)
        assert [event.reachable for event in watcher.of(DatabaseStateChanged)] == [
            False,
            True,
            False,
            True,
        ]


async def test_closing_waits_for_those_who_are_at_it(place: Place, admin: asyncpg.Connection) -> None:
    async with running_pool(place.login, max_size=2) as pool:

        async def work() -> None:
            async with pool.lease() as connection:
                entered.set()
                await connection.execute("BEGIN; SET LOCAL ROLE authenticated")
                await connection.execute("SELECT pg_advisory_xact_lock(99)")
                await connection.execute("INSERT INTO notes VALUES (99, NULL, 'written')")
                await connection.execute("COMMIT")

        entered = asyncio.Event()
        await admin.execute("SELECT pg_advisory_lock(99)")
        working = asyncio.create_task(work())
        await until(admin, WAITING)
        closing_down = asyncio.create_task(pool.close(PATIENCE))
        await asyncio.sleep(0)
        assert (await no_lease(pool)).reason is Reason.SHUTTING_DOWN
        await admin.execute("SELECT pg_advisory_unlock(99)")
        await asyncio.gather(working, closing_down)
    assert await admin.fetchval("DELETE FROM notes WHERE id = 99 RETURNING body") == "written"
    await until(admin, GONE, LOGIN)


async def test_closing_does_not_wait_for_ever(place: Place, admin: asyncpg.Connection) -> None:
    async with running_pool(place.login, max_size=1) as pool:
        async with pool.lease() as connection:
            await pool.close(0.01)
            with pytest.raises(asyncpg.InterfaceError):
                await connection.execute("SELECT 1")
        assert pool.state.size == 0
    await until(admin, GONE, LOGIN)


@pytest.mark.parametrize("steps", [0, 3])
async def test_a_closed_pool_stays_closed(place: Place, admin: asyncpg.Connection, steps: int) -> None:
    clock = LoggedClock(1)
    async with running_pool(place.login, ready=False, clock=clock) as pool:
        for _ in range(steps):  # so that it is about to connect
            await asyncio.sleep(0)
        await pool.close(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await clock.enough.wait()
        assert pool.state.size == 0
    await until(admin, GONE, LOGIN)
