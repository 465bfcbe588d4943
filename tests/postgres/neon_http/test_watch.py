"""What is found wrong with a database, and that an idle sidecar lets it sleep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import DatabaseStateChanged
from sidecar.core.issuer import Scope
from sidecar.postgres.neon_http.watch import Watch
from tests.fakes import FakeClock
from tests.neon import standing as neon
from tests.neon.standing import Standing
from tests.postgres.scoped import ALICE, PATIENCE, Watcher, connected, query, refusal, rows

PROBE = Scope(subject="usher-probe", payload={"sub": "usher-probe"})


class Pings:
    """The endpoint as a ping finds it."""

    def __init__(self) -> None:
        self.count = 0
        self.why = ""

    async def __call__(self) -> None:
        self.count += 1
        if self.why:
            raise ConnectionRefusedError(self.why)


@asynccontextmanager
async def watching(there: Standing) -> AsyncIterator[tuple[Watch, Pings, FakeClock, Watcher]]:
    """A watch of its own on the double, in a time of its own."""
    pings, clock, observed = Pings(), FakeClock(), Watcher()
    settings = neon.NeonSettings(target=there.target)
    watch = Watch(there.exchange, pings, lambda: PROBE, settings, clock, observed)
    running = asyncio.create_task(watch.run())
    try:
        await observed.until(lambda: bool(observed.events))
        yield watch, pings, clock, observed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_whole_look_and_then_none_that_wakes_a_database(there: Standing) -> None:
    there.endpoint.asked.clear()
    async with watching(there) as (watch, pings, clock, observed):
        assert watch.trouble is None
        assert observed.of(DatabaseStateChanged) == [
            DatabaseStateChanged(reachable=True, detail="the database is ready")
        ]
        assert len(there.endpoint.asked) == 1
        for count in (1, 2, 3):
            await clock.advance(30)
            assert pings.count == count
        assert len(there.endpoint.asked) == 1


async def test_an_endpoint_that_is_away_is_told_and_its_return_found(there: Standing) -> None:
    async with watching(there) as (watch, pings, clock, observed):
        pings.why = "gone"
        await clock.advance(30)
        assert watch.trouble == "gone"
        # What was found fit before may be used again at once.
        with watch.in_use():
            pass
        pings.why = ""
        await clock.advance(1)
        assert watch.trouble is None
        assert [event.reachable for event in observed.of(DatabaseStateChanged)] == [True, False, True]


async def test_a_statement_that_finds_nobody_wakes_the_watch(there: Standing) -> None:
    async with watching(there) as (watch, pings, clock, _):
        there.exchange.on_lost("refused")
        assert watch.trouble == "refused"
        await clock.settle()
        assert (watch.trouble, pings.count) == (None, 1)


BELIEVES_ALL = """
CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('request.jwt.claims', true), '')::jsonb, auth.session()) ->> 'sub' $$
"""
KNOWS_NOBODY = "CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql AS 'SELECT null::text'"
UNFIT = {
    "claims that any SQL may set": (BELIEVES_ALL, "SELECT", "believes what any SQL may set"),
    "a subject that is not told": (KNOWS_NOBODY, "SELECT", "does not tell the subject"),
    "no functions": ("DROP FUNCTION auth.user_id CASCADE", "SELECT", "cannot be called"),
    "a role above the policies": (
        "ALTER ROLE authenticated BYPASSRLS",
        "ALTER ROLE authenticated NOBYPASSRLS",
        "exempt from row-level security",
    ),
    "a role that owns a table": (
        "ALTER TABLE users OWNER TO authenticated",
        "ALTER TABLE users OWNER TO CURRENT_USER",
        "exempt from row-level security",
    ),
    "functions that the role may not use": (
        "REVOKE USAGE ON SCHEMA auth FROM PUBLIC",
        "SELECT",
        "cannot be called",
    ),
    "a role that cannot log in": (
        "ALTER ROLE authenticated NOLOGIN",
        "ALTER ROLE authenticated LOGIN",
        "must be able to log in",
    ),
}


@pytest.mark.parametrize(("spoil", "mend", "words"), UNFIT.values(), ids=UNFIT)
async def test_a_database_that_is_not_fit_is_not_used(
    own_neon_database: str, spoil: str, mend: str, words: str
) -> None:
    async with connected(own_neon_database) as admin:
        await admin.execute(spoil)
        try:
            async with neon.standing(own_neon_database, ready=False) as there:
                await there.observed.until(lambda: bool(there.observed.of(DatabaseStateChanged)))
                refused = await refusal(there.backend, ALICE, "select 1")
                assert refused.reason is Reason.DATABASE_NOT_INSTALLED
                assert words in (there.watch.trouble or "")
                assert (there.watch.trouble or "none") in refused.message
        finally:
            await admin.execute(mend)


async def test_the_operator_may_accept_a_role_above_the_policies(own_neon_database: str) -> None:
    async with connected(own_neon_database) as admin:
        await admin.execute("ALTER ROLE authenticated BYPASSRLS")
        try:
            async with neon.standing(own_neon_database, allow_privileged_role=True) as there:
                assert (await query(there.backend, ALICE, "select id from users")).row_count == 4
        finally:
            await admin.execute("ALTER ROLE authenticated NOBYPASSRLS")


async def test_not_before_it_was_looked_at_and_not_after_it_is_closed(there: Standing) -> None:
    fresh = Watch(
        there.exchange, Pings(), lambda: PROBE, neon.NeonSettings(target=there.target), FakeClock(), Watcher()
    )
    with pytest.raises(UsherError, match="not asked yet") as refused, fresh.in_use():
        pass
    assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
    await there.watch.close(0.0)
    assert (await refusal(there.backend, ALICE, "select 1")).reason is Reason.SHUTTING_DOWN


async def test_a_stop_waits_for_what_runs(there: Standing) -> None:
    running = asyncio.create_task(query(there.backend, ALICE, "select pg_sleep(0.2), 1"))
    async with asyncio.timeout(PATIENCE):
        while there.exchange.counts == (0, 0):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await there.watch.close(PATIENCE)
    assert running.done() or there.exchange.counts == (0, 0)
    assert rows(await running) == [(None, 1)]
