"""The key store by a link: all that a store owes, and who is told of what."""

from __future__ import annotations

import asyncio
import base64

import pytest
from cryptography.hazmat.primitives import serialization

from sidecar.core.errors import Reason, UsherError
from sidecar.core.key_store import KeyStore, Outcome
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.sealing import Sealer, new_key
from sidecar.workers import shared_keys
from sidecar.workers.shared_keys import LinkKeyStore, key_answers
from tests.fakes import FakeClock
from tests.key_stores import KeyStoreConformance, beat, begun
from tests.workers.wires import Wire


class Owner:
    """A store with as many workers as ask."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryKeyStore(self.clock, shared=True)
        self.sealer = Sealer.parse(new_key())
        self.wires: list[Wire] = []
        self.order: list[str] = []

    def worker(self) -> tuple[LinkKeyStore, set[str]]:
        replicas: set[str] = set()
        answers = key_answers(self.store, self.sealer, replicas, self._changed)
        wire = Wire(answers, {shared_keys.CHANGED: lambda _: store.wake()})
        store = LinkKeyStore(wire.near, self.sealer, self.clock)
        self.wires.append(wire)
        return store, replicas

    async def _changed(self) -> None:
        self.order.append("published")
        for wire in self.wires:
            wire.far.tell(shared_keys.CHANGED)


@pytest.fixture
def owner() -> Owner:
    return Owner()


class TestLinked(KeyStoreConformance):
    @pytest.fixture
    def store(self, owner: Owner) -> KeyStore:
        return owner.worker()[0]

    @pytest.fixture
    def other(self, owner: Owner, store: KeyStore) -> KeyStore:
        return owner.worker()[0]


async def test_a_ring_is_published_before_the_worker_that_made_it_may_sign_by_it(owner: Owner) -> None:
    store, _ = owner.worker()
    swapped = await store.swap(0, begun(owner.clock.now()))
    owner.order.append("signs")
    assert swapped.outcome is Outcome.STORED
    assert owner.order == ["published", "signs"]


async def test_a_change_that_was_lost_publishes_nothing(owner: Owner) -> None:
    store, _ = owner.worker()
    await store.swap(0, begun(owner.clock.now()))
    assert (await store.swap(0, begun(owner.clock.now()))).outcome is Outcome.LOST
    assert owner.order == ["published"]


async def test_private_keys_pass_sealed_and_only_when_they_have_changed(owner: Owner) -> None:
    store, _ = owner.worker()
    ring = begun(owner.clock.now())
    await store.swap(0, ring)
    wire = owner.wires[0]
    assert ring.active is not None
    assert ring.active.private is not None
    plain = ring.active.private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert b"sealed" in wire.lines[0]
    assert base64.b64encode(plain)[8:40] not in b"".join(wire.lines)
    wire.lines.clear()
    again = await store.load()
    assert again.ring.version == 1
    assert b"sealed" not in b"".join(wire.lines)


async def test_whom_the_store_knows_of_a_worker_is_known(owner: Owner) -> None:
    store, replicas = owner.worker()
    await store.record(beat("one"))
    await store.record(beat("two"))
    await store.leave("one")
    assert replicas == {"two"}


async def test_a_supervisor_that_does_not_answer_is_a_store_that_is_away(owner: Owner) -> None:
    store, _ = owner.worker()
    owner.wires[0].cut = True
    asked = asyncio.ensure_future(store.load())
    await asyncio.sleep(0)
    owner.wires[0].near.end()
    with pytest.raises(UsherError) as caught:
        await asked
    assert caught.value.reason is Reason.KEY_STORE_UNAVAILABLE
