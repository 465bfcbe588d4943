"""The claim key is replaced while sidecars run: by one that the database believes, and by no other."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.app.claim_key_reload import LOOK_SECONDS, ClaimKeyReloader
from sidecar.core.clock import SystemClock
from sidecar.core.events import ClaimKeyLoaded
from sidecar.postgres import installer
from sidecar.postgres.check_database import DatabaseCheck
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.signed_claims import SignedClaimsBackend, try_key
from tests.fakes import FakeClock, Recorder
from tests.postgres.scoped import ALICE, PATIENCE, SHARED, Place, connected, key_of, running_pool, set_up


def text_of(key: ClaimKey) -> str:
    return f"{key.id}:{key.secret.hex()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    file: Path
    place: Place
    current: CurrentKey
    backend: SignedClaimsBackend
    clock: FakeClock
    seen: Recorder

    async def until(self, outcomes: list[str]) -> None:
        """Lets the clock tick until these are all the outcomes."""
        async with asyncio.timeout(PATIENCE):
            while [event.outcome for event in self.seen.of(ClaimKeyLoaded)] != outcomes:
                await self.clock.advance(LOOK_SECONDS)
                await asyncio.sleep(0.001)  # a file is read in a thread, and Postgres is another process

    async def looks(self, count: int) -> None:
        """Lets it look so often."""
        for _ in range(count):
            await self.clock.advance(LOOK_SECONDS)
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def watched(dsn: str, folder: Path) -> AsyncIterator[Watched]:
    place = await set_up(dsn)
    file, clock, seen = folder / "claim.key", FakeClock(), Recorder()
    file.write_text(text_of(key_of(dsn)))
    async with running_pool(place.login, max_size=1) as pool:
        current = CurrentKey(key_of(dsn))
        backend = SignedClaimsBackend(pool, SHARED, current)
        believed = functools.partial(try_key, pool, SHARED)
        running = asyncio.create_task(ClaimKeyReloader(file, current, believed, clock, seen).run())
        try:
            yield Watched(file=file, place=place, current=current, backend=backend, clock=clock, seen=seen)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_key_is_replaced_and_the_old_one_removed(fresh_database: str, tmp_path: Path) -> None:
    async with watched(fresh_database, tmp_path) as world:
        old = world.current.key
        async with connected(world.place.admin) as admin:
            new = await installer.add_key(admin)
            world.file.write_text(new)
            await world.until(["loaded"])
            assert await installer.remove_key(admin, old.id)
        assert world.current.key == ClaimKey.parse(new)
        assert (await world.backend.who_am_i(ALICE)).user_id == "alice"


async def test_the_deny_list_and_the_check_take_the_new_key_too(fresh_database: str, tmp_path: Path) -> None:
    async with watched(fresh_database, tmp_path) as world:
        settings = PoolSettings(database_url=world.place.login)
        store = PostgresRevocations(settings, world.current, SystemClock())
        check = DatabaseCheck(SHARED, world.current)
        try:
            old = world.current.key
            async with connected(world.place.admin) as admin, connected(world.place.login) as login:
                world.file.write_text(await installer.add_key(admin))
                await world.until(["loaded"])
                assert await installer.remove_key(admin, old.id)
                assert await check(login) is None
            assert await store.read() == []
        finally:
            await store.close()


async def test_a_key_that_the_database_does_not_know_waits_for_it(
    fresh_database: str, tmp_path: Path
) -> None:
    async with watched(fresh_database, tmp_path) as world, connected(world.place.admin) as admin:
        old = world.current.key
        early = await installer.add_key(admin)
        row = await admin.fetchrow(
            "DELETE FROM usher.claim_key WHERE id = $1 RETURNING *", ClaimKey.parse(early).id
        )
        assert row is not None
        world.file.write_text(early)
        await world.until(["refused"])
        await world.looks(5)
        (refused,) = world.seen.of(ClaimKeyLoaded)  # said once
        assert "usher db key" in refused.detail
        assert early.partition(":")[2] not in refused.detail
        assert world.current.key == old
        assert (await world.backend.who_am_i(ALICE)).user_id == "alice"
        await admin.copy_records_to_table("claim_key", schema_name="usher", records=[tuple(row)])
        await world.until(["refused", "loaded"])
        assert world.current.key == ClaimKey.parse(early)


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff\xfe", None])
async def test_what_is_no_key_changes_nothing(
    fresh_database: str, tmp_path: Path, content: bytes | None
) -> None:
    async with watched(fresh_database, tmp_path) as world:
        before = world.current.key
        if content is None:
            await world.looks(2)
            world.file.unlink()
        else:
            world.file.write_bytes(content)
        await world.until(["refused"])
        assert world.current.key == before
        world.file.write_text(text_of(before))
        await world.looks(3)
        assert [event.outcome for event in world.seen.of(ClaimKeyLoaded)] == ["refused"]
        assert (await world.backend.who_am_i(ALICE)).user_id == "alice"
