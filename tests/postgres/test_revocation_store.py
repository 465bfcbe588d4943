"""The deny list in a real database: shared, heard of at once, and found again when the connection is lost."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.deny_list import By, Revocation
from sidecar.core.errors import Reason, UsherError
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Addition, Revocations, RevocationSettings
from sidecar.postgres import installer
from sidecar.postgres.claim_key import BINDING, ClaimKey, CurrentKey
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.revocation_store import CHANNEL, POLL_SECONDS, PostgresRevocations
from sidecar.postgres.sessions import Pooling
from tests.fakes import FakeClock, Recorder
from tests.postgres.scoped import (
    CANARY,
    PATIENCE,
    UNKNOWN_KEY,
    Place,
    connected,
    key_of,
    set_up,
    until,
)

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'usher revocations'"
"""Which backends are the stores'. Only the superuser sees all of them."""
OURS = f"{LISTENERS} AND datname = current_database()"


@asynccontextmanager
async def store_on(
    dsn: str, *, key: ClaimKey | None = None, clock: Any = None, **settings: Any
) -> AsyncIterator[PostgresRevocations]:
    store = PostgresRevocations(
        PoolSettings(database_url=dsn, **settings), CurrentKey(key or key_of(dsn)), clock or SystemClock()
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def replica(dsn: str, *, clock: Any = None) -> AsyncIterator[tuple[Revocations, Recorder]]:
    """What a sidecar has of the list, kept current."""
    seen = Recorder()
    async with store_on(dsn, clock=clock) as store:
        revocations = Revocations(store, RevocationSettings(least=60), clock or SystemClock(), seen)
        loop = asyncio.create_task(revocations.run())
        try:
            await holds(lambda: revocations.trouble() is None)
            yield revocations, seen
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for is another task's
            await asyncio.sleep(0.001)


def refused(revocations: Revocations, jti: str) -> bool:
    try:
        revocations.check(path="token", jti=jti, subject="alice", issued_at=0)
    except UsherError as error:
        return error.reason is Reason.TOKEN_REVOKED
    return False


def named(entries: Any) -> set[tuple[By, str, int | None]]:
    return {(entry.by, entry.value, entry.issued_until) for entry in entries}


async def test_entries_are_made_read_merged_and_removed(fresh_database_each_version: str) -> None:
    own = await set_up(fresh_database_each_version, demo=False)
    async with store_on(own.login) as store:
        assert await store.read() == []
        (made,) = await store.add(Addition(by=By.JTI, value="id-1", seconds=100))
        assert made.expires_at - made.revoked_at == pytest.approx(100)
        assert abs(made.revoked_at - SystemClock().now()) < PATIENCE
        assert await store.read() == [made]
        hard = 'o\'hara \\ \N{SNOWMAN} "x" \N{GRINNING FACE}' + "\N{GRINNING FACE}" * 230
        found = await store.add(Addition(by=By.SUB, value=hard, issued_until=7, seconds=100))
        assert named(found) == {(By.JTI, "id-1", None), (By.SUB, hard, 7)}
        assert [entry.value for entry in found] == [hard, "id-1"], "the newest first"
        found = await store.add(Addition(by=By.SUB, value=hard, issued_until=9, seconds=10))
        assert (By.SUB, hard, 9) in named(found)
        assert max(entry.expires_at - entry.revoked_at for entry in found) > 90
        found = await store.add(Addition(by=By.SUB, value=hard, seconds=10))
        assert (By.SUB, hard, None) in named(found)
        assert named(await store.remove(By.KID, "id-1")) == named(found)
        assert named(await store.remove(By.SUB, hard)) == {(By.JTI, "id-1", None)}


async def test_every_order_of_changes_comes_to_what_memory_makes_of_it(own_place: Place) -> None:
    chance = random.Random(4)
    memory = MemoryRevocations(SystemClock())
    async with store_on(own_place.login) as store:
        for _ in range(150):
            by, value = chance.choice(list(By)), chance.choice("ab")
            if chance.random() < 0.25:
                found: list[Any] = [await one.remove(by, value) for one in (store, memory)]
            else:
                issued_until = chance.choice([None, chance.randrange(9)]) if by is By.SUB else None
                addition = Addition(
                    by=by, value=value, issued_until=issued_until, seconds=chance.choice([60, 600])
                )
                found = [await one.add(addition) for one in (store, memory)]
            assert named(found[0]) == named(found[1])
            ends = [{(e.by, e.value): e.expires_at for e in entries} for entries in found]
            assert ends[0] == pytest.approx(ends[1], abs=PATIENCE)


async def test_what_is_over_is_not_returned_and_swept_away(own_place: Place) -> None:
    async with store_on(own_place.login) as store, connected(own_place.admin) as admin:
        await store.add(Addition(by=By.JTI, value="id-1", seconds=0.01))
        await until(admin, "SELECT bool_and(expires_at < now()) FROM usher.revocation")
        assert await store.read() == []
        assert await admin.fetchval("SELECT count(*) FROM usher.revocation") == 1
        (made,) = await store.add(Addition(by=By.SUB, value="alice", issued_until=5, seconds=100))
        assert await admin.fetchval("SELECT count(*) FROM usher.revocation") == 1
        # One that was over has no say in what comes after it.
        await admin.execute("UPDATE usher.revocation SET issued_until = NULL, expires_at = now()")
        assert (await store.add(Addition(by=By.SUB, value="alice", issued_until=5, seconds=100)))[
            0
        ].issued_until == made.issued_until


async def test_what_one_revokes_the_others_hear_of(own_place: Place) -> None:
    """With clocks that stand still: no look at an interval has a part in it."""
    clock = FakeClock(time.time())
    async with (
        replica(own_place.login, clock=clock) as (first, _),
        replica(own_place.login, clock=clock) as (second, _),
    ):
        await clock.advance(1)  # past the gap between two readings
        await holds(lambda: first.told and second.told)
        await first.revoke(By.JTI, "id-1")
        assert refused(first, "id-1"), "at once where it was asked for"
        await holds(lambda: refused(second, "id-1"))
        await clock.advance(1)
        await second.lift(By.JTI, "id-1")
        await holds(lambda: not refused(first, "id-1"))


async def test_a_killed_connection_is_replaced_at_once_and_nothing_is_missed(own_place: Place) -> None:
    async with (
        connected(own_place.admin) as admin,
        replica(own_place.login) as (revocations, _),
        store_on(own_place.login) as other,
    ):
        for number in range(25):
            before = {row["pid"] for row in await admin.fetch(OURS)}
            await admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({OURS}) AS ours")
            # Its own connection has died as well.
            await other.add(Addition(by=By.JTI, value=f"id-{number}", seconds=100))
            await holds(functools.partial(refused, revocations, f"id-{number}"))
            await holds(lambda: revocations.told)
            assert before.isdisjoint({row["pid"] for row in await admin.fetch(OURS)})


async def test_a_connection_that_died_without_a_word_is_found_by_looking(own_place: Place) -> None:
    """A notification that is lost: as when the network is, of which nobody is told."""
    clock = FakeClock(time.time())
    async with connected(own_place.admin) as admin, replica(own_place.login, clock=clock) as (found, _):
        await clock.advance(1)
        await admin.execute(
            "INSERT INTO usher.revocation VALUES ('jti', 'id-1', NULL, now(), now() + interval '1 h')"
        )
        await clock.advance(POLL_SECONDS)
        await holds(lambda: refused(found, "id-1"))


async def test_strangers_notifications_are_not_believed(own_place: Place) -> None:
    async with connected(own_place.admin) as admin, replica(own_place.login) as (revocations, seen):
        await revocations.revoke(By.JTI, "id-1")
        before = len(seen.events)
        for payload in ("", "lift id-1", '{"do":"lift","kind":"jti","value":"id-1"}', "x" * 7000):
            await admin.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        await holds(lambda: len(seen.events) > before)
        assert refused(revocations, "id-1")


async def test_notifications_say_nothing_of_what_is_revoked(own_place: Place) -> None:
    heard: list[object] = []
    async with connected(own_place.admin) as admin, store_on(own_place.login) as store:
        await admin.add_listener(CHANNEL, lambda *told: heard.append(told[3]))
        await store.add(Addition(by=By.SUB, value=CANARY, seconds=100))
        await holds(lambda: bool(heard))
        assert heard == [""]


async def test_an_entry_that_was_not_committed_is_not_there(own_place: Place) -> None:
    async with store_on(own_place.login) as store, connected(own_place.login) as login:
        await login.execute("BEGIN")
        request = '{"do":"revoke","kind":"jti","value":"id-1","seconds":"60"}'
        tag = key_of(own_place.login).list_tag(await login.fetchval(BINDING), request)
        assert len(await login.fetch("SELECT * FROM usher.revocations($1, $2)", request, tag)) == 1
        await login.execute("ROLLBACK")
        assert await store.read() == []


async def failure(store: PostgresRevocations) -> UsherError:
    with pytest.raises(UsherError) as caught:
        await store.add(Addition(by=By.SUB, value=CANARY, seconds=100))
    assert CANARY not in f"{caught.value} {caught.value.metadata}"
    assert caught.value.__suppress_context__
    return caught.value


async def test_an_unknown_key_is_said(own_place: Place) -> None:
    async with store_on(own_place.login, key=UNKNOWN_KEY) as store:
        error = await failure(store)
        assert error.reason is Reason.DATABASE_NOT_INSTALLED
        assert "claim_key" in error.message


async def test_a_database_without_the_list_is_said(fresh_database: str) -> None:
    own = await set_up(fresh_database, demo=False)
    async with connected(own.admin) as admin, store_on(own.login) as store:
        for step in reversed(installer.scripts()[2:]):
            await admin.execute(step.down)
        error = await failure(store)
        assert error.reason is Reason.DATABASE_NOT_INSTALLED
        assert "usher db install" in error.message
        await admin.execute("DELETE FROM usher.schema_version WHERE version >= 3")
        await installer.install(admin)
        assert await store.read() == []


async def test_a_database_that_is_away_is_said(own_place: Place) -> None:
    async with store_on("postgresql://u:p@127.0.0.1:1/nothing", key=UNKNOWN_KEY) as store:
        assert (await failure(store)).reason is Reason.DATABASE_UNAVAILABLE
        assert not store.told


async def test_an_error_of_the_database_shows_no_value(own_place: Place) -> None:
    async with store_on(own_place.login) as store:
        with pytest.raises(UsherError) as caught:
            await store.add(Addition(by=By.JTI, value=CANARY * 1000, seconds=100))
        assert caught.value.reason is Reason.DATABASE_ERROR
        assert CANARY not in f"{caught.value} {caught.value.metadata}"
        assert await store.read() == [], "and the next request has a connection"


async def test_a_request_that_is_cancelled_leaves_a_working_store(own_place: Place) -> None:
    async with store_on(own_place.login) as store:
        for turns in range(12):
            asking = asyncio.create_task(store.read())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert await store.read() == []


async def test_behind_a_transaction_pooler_nothing_is_heard_and_all_is_looked_at(own_place: Place) -> None:
    async with store_on(own_place.login, pooling=Pooling.TRANSACTION) as store:
        (made,) = await store.add(Addition(by=By.JTI, value="id-1", seconds=100))
        assert await store.read() == [made]
        assert not store.told
        assert await store.remove(By.JTI, "id-1") == []


async def test_logins_of_one_session_each_suffice(own_place: Place) -> None:
    async with connected(own_place.admin) as admin:
        password = await installer.make_logins(admin, "usher_listed", 2)
    dsn = own_place.admin.rpartition("@")[2]
    url = f"postgresql://usher_listed:{password}@{dsn}"
    key = key_of(own_place.admin)
    async with store_on(url, key=key, logins=2) as one, store_on(url, key=key, logins=2) as two:
        await one.add(Addition(by=By.JTI, value="id-1", seconds=100))
        assert len(await two.read()) == 1
        async with store_on(url, key=key, logins=2) as three:
            error = await failure(three)
            assert error.reason is Reason.DATABASE_RESOURCES
            assert "pool_max_size" in error.message


async def test_the_tag_is_good_for_one_request_in_one_transaction(own_place: Place) -> None:
    key = key_of(own_place.login)
    ask = "SELECT * FROM usher.revocations($1, $2)"
    lists = '{"do":"list"}'
    lift = '{"do":"lift","kind":"jti","value":"id-1"}'
    async with connected(own_place.login) as login:

        async def refuses(request: str, tag: str | None) -> None:
            with pytest.raises(asyncpg.PostgresError) as caught:
                async with login.transaction():
                    await login.fetch(ask, request, tag)
            assert caught.value.sqlstate == "US001"

        async with login.transaction():
            binding = await login.fetchval(BINDING)
            tag = key.list_tag(binding, lists)
            assert await login.fetch(ask, lists, tag) == []
            await refuses(lift, tag)
            await refuses(lists, key.tag(binding, "none", lists))
            await refuses(lists, UNKNOWN_KEY.list_tag(binding, lists))
            await refuses(lists, f"{key.id}.")
            await refuses(lists, "")
            await refuses(lists, None)
            await refuses(lists, tag.upper())
        await refuses(lists, tag)  # the next transaction
    revocations: list[Revocation] = []
    async with store_on(own_place.login) as store:
        revocations += await store.read()
    assert revocations == []
