"""The deny list by a link: what is revoked in one worker is refused in all."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.deny_list import By
from sidecar.core.errors import Reason, UsherError
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Addition, Revocations, RevocationSettings
from sidecar.workers import shared_revocations
from sidecar.workers.shared_revocations import LinkRevocations, revocation_answers
from tests.fakes import START, FakeClock, Recorder
from tests.workers.wires import Wire


class Owner:
    """A list with as many workers as ask."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kept = MemoryRevocations(self.clock)
        self.wires: list[Wire] = []

    def worker(self) -> LinkRevocations:
        wire = Wire(
            revocation_answers(self.kept, self._changed),
            {shared_revocations.CHANGED: lambda _: store.wake()},
        )
        store = LinkRevocations(wire.near, self.clock)
        self.wires.append(wire)
        return store

    def _changed(self) -> None:
        for wire in self.wires:
            wire.far.tell(shared_revocations.CHANGED)


async def test_entries_come_back_as_they_went() -> None:
    owner = Owner()
    one, other = owner.worker(), owner.worker()
    (made,) = await one.add(Addition(by=By.SUB, value="alice", issued_until=int(START), seconds=100))
    assert (made.by, made.issued_until, made.expires_at) == (By.SUB, int(START), START + 100)
    assert await other.read() == [made] == await owner.kept.read()
    assert await other.remove(By.SUB, "alice") == []
    assert await one.read() == []
    assert one.shared
    assert one.told


async def test_what_one_revokes_the_others_refuse_without_looking_again() -> None:
    owner = Owner()
    lists = [
        Revocations(owner.worker(), RevocationSettings(least=100), owner.clock, Recorder()) for _ in range(2)
    ]
    running = [asyncio.create_task(each.run()) for each in lists]
    await owner.clock.advance(1)
    await lists[0].revoke(By.JTI, "id-1")
    await owner.clock.advance(0.1)
    for each in lists:
        with pytest.raises(UsherError) as caught:
            each.check(path="token", jti="id-1", subject="alice", issued_at=START)
        assert caught.value.reason is Reason.TOKEN_REVOKED
    for task in running:
        task.cancel()


async def test_nobody_is_let_through_once_the_supervisor_is_silent_for_too_long() -> None:
    owner = Owner()
    store = owner.worker()
    held = Revocations(store, RevocationSettings(least=100, max_age=10), owner.clock, Recorder())
    await held.refresh()
    owner.wires[0].cut = True
    asked = asyncio.ensure_future(held.refresh())
    await asyncio.sleep(0)
    owner.wires[0].near.end()
    with pytest.raises(UsherError):
        await asked
    held.check(path="token", jti="id-1", subject="alice", issued_at=START)
    await owner.clock.advance(11)
    with pytest.raises(UsherError) as caught:
        held.check(path="token", jti="id-1", subject="alice", issued_at=START)
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
