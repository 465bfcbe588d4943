"""The list of one process: what a store owes, without a database."""

from __future__ import annotations

from sidecar.core.deny_list import By
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Addition
from tests.fakes import START, FakeClock


async def test_entries_come_and_end_by_themselves() -> None:
    clock = FakeClock()
    store = MemoryRevocations(clock)
    assert await store.read() == []
    (made,) = await store.add(Addition(by=By.JTI, value="id-1", seconds=100))
    assert (made.revoked_at, made.expires_at, made.issued_until) == (START, START + 100, None)
    await clock.advance(99)
    assert await store.read() == [made]
    await clock.advance(1)
    assert await store.read() == []


async def test_a_second_entry_is_merged_with_the_first() -> None:
    clock = FakeClock()
    store = MemoryRevocations(clock)
    await store.add(Addition(by=By.SUB, value="alice", seconds=500))
    await clock.advance(10)
    (both,) = await store.add(Addition(by=By.SUB, value="alice", issued_until=int(START), seconds=100))
    assert (both.issued_until, both.expires_at, both.revoked_at) == (None, START + 500, START + 10)
    # One that is over has no say.
    await clock.advance(1000)
    (fresh,) = await store.add(Addition(by=By.SUB, value="alice", issued_until=int(START), seconds=100))
    assert fresh.issued_until == int(START)


async def test_an_entry_can_be_removed_and_what_is_not_there_too() -> None:
    store = MemoryRevocations(FakeClock())
    await store.add(Addition(by=By.KID, value="key-1", seconds=100))
    assert len(await store.remove(By.KID, "key-2")) == 1
    assert await store.remove(By.KID, "key-1") == []


def test_nobody_else_sees_it() -> None:
    store = MemoryRevocations(FakeClock())
    assert not store.shared
    assert not store.told
