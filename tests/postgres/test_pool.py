"""The pool on a real server: what comes clean, what goes back, and what happens when the server goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import ConnectionDiscarded, DatabaseStateChanged
from sidecar.postgres.check_database import check_database
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.pool import Pool, PoolSettings
from sidecar.postgres.sessions import SCRUB, SESSION_SETTINGS, Pooling
from tests.fakes import FakeClock
from tests.postgres.scoped import (
    LOGIN,
    PATIENCE,
    SHARED,
    UNKNOWN_KEY,
    Place,
    Watcher,
    connected,
    no_lease,
    running_pool,
    until,
)

BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()"
SLEEPING = "WHERE wait_event = 'PgSleep'"
LEFT_BEHIND = {
    "a setting": "SELECT set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)",
    "the search path": "SELECT set_config('search_path', 'elsewhere', false)",
    "the style of dates": "SELECT set_config('DateStyle', 'German', false)",
    "a role": "SELECT set_config('role', 'authenticated', false)",
    "a temporary table": "SELECT 'mallory' AS name INTO TEMP users",
    "an advisory lock": "SELECT pg_advisory_lock(4711)",
    "a sequence's last value": "SELECT nextval('pool_numbers')",
    "a cursor": "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "a subscription": "LISTEN something",
}
SESSION = """
SELECT current_user::text AS "user", current_setting('search_path') AS path,
       current_setting('DateStyle') AS dates,
       coalesce(current_setting('request.jwt.claims', true), '') AS claims,
       to_regclass('pg_temp.users') IS NOT NULL AS temporary,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
       (SELECT count(*) FROM pg_cursors WHERE name = 'kept') AS cursors,
       (SELECT count(*) FROM pg_listening_channels()) AS channels,
       (SELECT string_agg(statement, ';') LIKE '%mallory%' FROM pg_prepared_statements) AS texts
"""


@pytest.mark.parametrize("left", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_nothing_of_one_user_stays_for_the_next(pool: Pool, left: str) -> None:
    async with pool.lease() as connection:
        backend = connection.get_server_pid()
        clean = await connection.fetchrow(SESSION)
        await connection.execute(left)
        assert await connection.fetchrow(SESSION) != clean or "nextval" in left
    async with pool.lease() as connection:
        assert connection.get_server_pid() == backend  # the same session, and a clean one
        assert await connection.fetchrow(SESSION) == clean
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await connection.fetchval("SELECT lastval()")


async def test_one_user_cannot_foresee_the_random_numbers_of_the_next(pool: Pool) -> None:
    drawn = set()
    for _ in range(2):
        async with pool.lease() as connection:
            await connection.execute("SELECT setseed(0.5)")
        async with pool.lease() as connection:
            drawn.add(await connection.fetchval("SELECT random()"))
    assert len(drawn) == 2


async def test_the_scrub_is_all_that_runs_between_two_users(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    async with pool.lease() as connection:
        await connection.execute("BEGIN")
        await connection.execute("COMMIT")
        ask = connection.relay.ask
        monkeypatch.setattr(connection.relay, "ask", lambda sql: (ran.append(sql), ask(sql))[1])
        connection.add_query_logger(lambda logged: ran.append(logged.query))
    async with pool.lease():
        (between,) = ran
    assert between.startswith(SCRUB.partition("{seed}")[0])


async def test_a_scrub_that_takes_too_long_costs_the_connection(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool.lease() as connection:
        backend = connection.get_server_pid()
        # A server that answers no more.
        monkeypatch.setattr(connection.relay, "ask", lambda sql: asyncio.get_running_loop().create_future())
        pool._settings = replace(pool._settings, connect_timeout=0.05)
    monkeypatch.undo()
    async with pool.lease() as connection:
        assert connection.get_server_pid() != backend
    assert pool.state.size == 1


async def test_a_session_has_the_settings_that_text_forms_need(pool: Pool) -> None:
    async with pool.lease() as connection:
        for name, value in SESSION_SETTINGS.items():
            shown = await connection.fetchval("SELECT current_setting($1)", name)
            assert shown == {"60s": "1min"}.get(value, value)


async def test_a_failed_block_is_rolled_back(pool: Pool, admin: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012
        async with pool.lease() as connection:
            await connection.execute("BEGIN; SET LOCAL ROLE authenticated")
            await connection.execute("INSERT INTO notes VALUES (1, NULL, 'one')")
            await connection.execute("INSERT INTO notes VALUES (1, NULL, 'one')")
    async with pool.lease() as connection:
        assert await connection.fetchval("SELECT current_user") == LOGIN
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_cancelling_a_caller_cancels_its_statement(pool: Pool, admin: asyncpg.Connection) -> None:
    async def sleep() -> None:
        async with pool.lease() as connection:
            started.set_result(connection.get_server_pid())
            await connection.execute("BEGIN; SELECT pg_sleep(60)")

    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sleeping = asyncio.create_task(sleep())
    backend = await started
    running = "SELECT count(*) > 0 FROM pg_stat_activity " + SLEEPING
    await until(admin, running)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    async with pool.lease() as connection:
        assert not await admin.fetchval(running)
        assert connection.get_server_pid() == backend  # it is clean: no reason to part with it
        assert not connection.is_in_transaction()
    assert pool.state.size == 1


async def test_no_connection_is_lost_when_many_callers_are_cancelled(
    place: Place, admin: asyncpg.Connection
) -> None:
    watcher = Watcher()
    async with running_pool(place.login, max_size=3, acquire_timeout=PATIENCE, observer=watcher) as pool:

        async def work(number: int) -> None:
            async with pool.lease() as connection:
                await connection.execute("BEGIN")
                await connection.fetchval("SELECT pg_sleep($1::float / 1000)", number % 7)
                await connection.execute("COMMIT")

        for step in range(30):
            callers = [asyncio.create_task(work(number)) for number in range(8)]
            # Each step cancels them a little later: waiting, beginning, running, ending.
            for _ in range(step):
                await asyncio.sleep(0)
            for caller in callers[::2]:
                caller.cancel()
            ended = await asyncio.gather(*callers, return_exceptions=True)
            assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
        async with pool.lease(), pool.lease(), pool.lease():
            assert pool.state.in_use == 3
            assert await admin.fetchval(BACKENDS, LOGIN) == 3
    assert watcher.of(ConnectionDiscarded) == []


async def test_a_connection_that_cannot_be_scrubbed_is_closed(own_place: Place) -> None:
    watcher = Watcher()
    async with running_pool(own_place.login, max_size=1, observer=watcher) as pool:
        async with pool.lease() as connection:
            backend = connection.get_server_pid()
            async with connected(own_place.admin) as admin:
                await admin.execute("REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC")
        async with pool.lease() as connection:
            assert connection.get_server_pid() != backend
        assert watcher.of(ConnectionDiscarded)[0].cause == "InsufficientPrivilegeError"


@pytest.mark.parametrize("idle", [True, False])
async def test_a_session_that_was_ended_is_replaced(
    place: Place, admin: asyncpg.Connection, idle: bool
) -> None:
    watcher = Watcher()

    async def sleep() -> None:
        async with pool.lease() as connection:
            if idle:
                await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await connection.execute("SELECT pg_sleep(60)")

    async with running_pool(place.login, max_size=1, observer=watcher) as pool:
        sleeping = asyncio.create_task(sleep())
        if not idle:
            await until(admin, "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity " + SLEEPING)
        with pytest.raises(DRIVER_ERRORS) as lost:
            await sleeping
        assert translate(lost.value).reason is Reason.DATABASE_UNAVAILABLE
        async with pool.lease() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert len(watcher.of(ConnectionDiscarded)) == 1
        assert pool.state.size == 1


async def test_a_full_pool_refuses_after_a_while(place: Place) -> None:
    async with running_pool(place.login, max_size=2, acquire_timeout=0.05) as pool:
        async with pool.lease(), pool.lease():
            waiting = asyncio.create_task(no_lease(pool))
            await asyncio.sleep(0)
            assert (pool.state.in_use, pool.state.waiting) == (2, 1)
            refused = await waiting
            assert refused.reason is Reason.POOL_EXHAUSTED
            assert refused.retryable
            assert pool.state.waiting == 0
        async with pool.lease():
            pass


async def test_looking_at_a_busy_pool_takes_nothing_from_it(place: Place) -> None:
    clock, watcher = FakeClock(), Watcher()
    async with running_pool(place.login, max_size=1, clock=clock, observer=watcher) as pool:
        async with pool.lease() as connection:
            for _ in range(3):
                await clock.advance(5)
            assert await connection.fetchval("SELECT 1") == 1
        assert pool.trouble is None
        assert len(watcher.of(DatabaseStateChanged)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:secret@db.example:5432/app",
        "postgres://db.example/app",
        "postgresql:///app?host=/run/postgresql",
        "postgresql://app@[::1]:5432,other:5433/app?target_session_attrs=primary",
    ],
)
def test_settings_take_postgres_urls(url: str) -> None:
    PoolSettings(database_url=url).validate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"database_url": ""},
        {"database_url": "mysql://u:secret@h/d"},
        {"database_url": "postgresql+asyncpg://u:secret@h/d"},
        {"database_url": "postgresql://u:secret@h:port/d"},
        {"database_url": "postgresql://u:secret@h:99999/d"},
        {"database_url": "postgresql://u:secret@[::1/d"},
        {"min_size": 2, "max_size": 1},
        {"max_size": 0},
        {"max_size": 1001},
        {"min_size": -1},
        {"acquire_timeout": 0},
        {"connect_timeout": -1},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        PoolSettings(**{"database_url": "postgresql://h/d"} | wrong).validate()
    assert "secret" not in str(refused.value)


async def test_a_crowd_is_told_that_the_pool_is_full_never_that_the_database_is_away(place: Place) -> None:
    """More callers than connections, all in a hurry: the database answers all the while."""
    watcher = Watcher()
    outcomes: list[str] = []
    async with running_pool(place.login, observer=watcher, max_size=2, acquire_timeout=0.05) as pool:

        async def caller() -> None:
            for _ in range(15):
                try:
                    async with pool.lease() as connection:
                        await connection.execute("SELECT pg_sleep(0.01)")
                    outcomes.append("ok")
                except UsherError as error:
                    outcomes.append(error.reason.value)

        await asyncio.gather(*(caller() for _ in range(30)))
        assert set(outcomes) == {"ok", "POOL_EXHAUSTED"}
        assert pool.trouble is None
    assert all(event.reachable for event in watcher.of(DatabaseStateChanged))


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("postgresql://u:p@ep-cool-name-123.eu.example/db", True),
        ("postgresql://u:p@ep-cool-name-123-pooler.eu.example/db", False),
        ("postgresql://u:p@ep-a.eu.example,ep-a-pooler.eu.example:5432/db", False),
        ("postgresql://u:p@/db?host=ep-a-pooler.eu.example", False),
        ("postgresql://ep-pooler:x-pooler@pooler.example/db-pooler", True),
        ("postgresql://u:p@[::1]:5432/db", True),
    ],
)
def test_a_pooled_host_is_known_by_its_name(url: str, own: bool) -> None:
    assert PoolSettings(database_url=url).own_sessions is own
    assert not PoolSettings(database_url=url, pooling=Pooling.TRANSACTION).own_sessions


def test_a_new_pool_says_that_it_is_not_connected() -> None:
    pool = Pool(
        PoolSettings(database_url="postgresql://h/d"),
        lambda connection: check_database(connection, SHARED, UNKNOWN_KEY),
        SystemClock(),
        Watcher(),
    )
    assert pool.trouble == "not connected yet"
