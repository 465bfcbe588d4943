"""Time limits and cancellation: a statement that nobody waits for runs no longer."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.queries import Backend
from tests.postgres.scoped import ALICE, CAROL, PATIENCE, query, refusal, rows, until

SLEEPING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def test_a_statement_ends_at_its_timeout(backend: Backend) -> None:
    refused = await refusal(backend, ALICE, "select pg_sleep(60)", timeout=0.05)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


@pytest.mark.parametrize("setting", ["1h", "0"])
async def test_a_statement_cannot_stretch_its_timeout_by_many_rows(backend: Backend, setting: str) -> None:
    """Rows come in portions, and for each of them Postgres begins its timer anew, as it is set by then."""
    stretched = (
        f"select case when n = 1 then set_config('statement_timeout', '{setting}', true) end,"
        " case when n = 300 then pg_sleep(60) end from generate_series(1, 400) n"
    )
    started = time.monotonic()
    refused = await refusal(backend, ALICE, stretched, timeout=0.2)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    assert time.monotonic() - started < PATIENCE
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


async def test_an_endless_write_ends_at_its_timeout(backend: Backend, admin: asyncpg.Connection) -> None:
    endless = (
        "with recursive t(n) as (select 1 union all select n + 1 from t), "
        "w as (insert into notes values (7, null, 'x') returning id) select nextval('pool_numbers') from t, w"
    )
    refused = await refusal(backend, ALICE, endless, timeout=0.2, max_rows=1)
    assert refused.reason is Reason.STATEMENT_TIMEOUT
    await query(backend, ALICE, "select 1")
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0


@pytest.mark.parametrize(
    ("act", "reason", "sqlstate"),
    [
        ("pg_cancel_backend", Reason.DATABASE_ERROR, "57014"),
        ("pg_terminate_backend", Reason.DATABASE_UNAVAILABLE, "57P01"),
    ],
)
async def test_an_administrator_may_end_a_statement(
    backend: Backend, admin: asyncpg.Connection, act: str, reason: Reason, sqlstate: str
) -> None:
    sleeping = asyncio.create_task(refusal(backend, ALICE, "select pg_sleep(60)"))
    await until(admin, f"SELECT bool_or({act}(pid)) {SLEEPING}")
    refused = await sleeping
    assert (refused.reason, refused.metadata["sqlstate"]) == (reason, sqlstate)
    assert rows(await query(backend, ALICE, "select 1")) == [(1,)]


async def test_a_cancelled_query_writes_nothing_and_runs_no_longer(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    running = f"SELECT count(*) > 0 {SLEEPING}"
    write = "with w as (insert into notes values (1, null, 'x')) select pg_sleep(60)"
    sleeping = asyncio.create_task(query(backend, ALICE, write))
    await until(admin, running)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert rows(await query(backend, CAROL, "select auth.user_id()")) == [("carol",)]
    assert not await admin.fetchval(running)
    assert await admin.fetchval("SELECT count(*) FROM notes") == 0
