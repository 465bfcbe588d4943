"""One replica's side of a key store: it goes over to newer rings, never back, and tells what it serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.errors import UsherError
from sidecar.core.events import ClockSkewed, KeyStoreOlder, KeyStoreStateChanged
from sidecar.core.following import LONGEST_BEAT_SECONDS, Follower
from sidecar.core.key_store import Outcome
from sidecar.core.keyring import KeyRing
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.ring_clock import MAX_SKEW_SECONDS, RingClock
from sidecar.core.rotation_settings import RotationSettings
from tests.fakes import Recorder
from tests.fleet import CrashError, Line, Member, Nature
from tests.key_stores import begun

SETTINGS = RotationSettings(verifiers=("neon-proxy",))


@pytest.fixture
def nature() -> Nature:
    return Nature()


@pytest.fixture
def store(nature: Nature) -> MemoryKeyStore:
    return MemoryKeyStore(nature.clock(), shared=True)


async def started(store: MemoryKeyStore, nature: Nature, offset: float = 0.0) -> Member:
    return await Member(store, SETTINGS, nature, offset).start()


async def test_the_first_begins_the_ring_and_the_second_takes_it(
    store: MemoryKeyStore, nature: Nature
) -> None:
    one, two = await started(store, nature), await started(store, nature)
    assert one.kids == two.kids
    assert len(one.kids) == 2
    assert {replica.id: replica.version for replica in (await store.load()).replicas} == {
        one.follower.replica: 1,
        two.follower.replica: 1,
    }


async def test_of_two_that_begin_at_once_one_begins(store: MemoryKeyStore, nature: Nature) -> None:
    one, two = Member(store, SETTINGS, nature), Member(store, SETTINGS, nature)
    await two.follower.join()  # it has seen that there is no ring
    await one.start()
    swapped = await two.line.swap(0, begun(nature.seconds))
    assert swapped.outcome is Outcome.LOST
    await two.start()
    assert two.kids == one.kids


async def test_a_replica_is_known_before_it_reads(store: MemoryKeyStore, nature: Nature) -> None:
    """Or a key could be taken for served by all while one still reads the ring without it."""
    await started(store, nature)
    late = Member(store, SETTINGS, nature)
    late.line.crash_at = 4  # two calls: what time is it, and: here I am
    with pytest.raises(CrashError):
        await late.start()
    known = {replica.id: replica for replica in (await store.load()).replicas}
    assert known[late.follower.replica].version == 0
    assert known[late.follower.replica].signs_until > nature.seconds + SETTINGS.hard_end


async def test_the_time_is_the_stores(store: MemoryKeyStore, nature: Nature) -> None:
    ahead, behind = await started(store, nature, 30), await started(store, nature, -30)
    assert ahead.clock.now() == behind.clock.now() == nature.seconds
    assert {replica.skew for replica in (await store.load()).replicas} == {30, -30}
    wrong = await started(store, nature, MAX_SKEW_SECONDS + 1)
    assert "differ by more than" in (wrong.follower.trouble() or "")


async def test_a_ring_is_served_before_the_store_is_told(store: MemoryKeyStore, nature: Nature) -> None:
    one = await started(store, nature)
    order: list[str] = []

    def adopt(ring: KeyRing) -> bool:
        order.append(f"serves {ring.version}")
        return True

    one.follower.adopt_with(adopt)
    record = one.line.record

    async def recorded(beat, fetches=()):  # type: ignore[no-untyped-def]
        order.append(f"tells {beat.version}")
        await record(beat, fetches)

    one.line.record = recorded  # type: ignore[method-assign]
    await store.swap(1, one.follower.ring)
    await one.follower.sync()
    assert order == ["serves 1", "serves 2", "tells 2"]


async def test_what_a_replica_may_do_at_worst_is_told(store: MemoryKeyStore, nature: Nature) -> None:
    one = await started(store, nature)
    edge = Follower(store, SETTINGS, RingClock(nature.clock()), Recorder(), signs=False)
    await edge.join()
    told = {replica.id: replica for replica in (await store.load()).replicas}
    active = one.signer.ring.active
    assert active is not None
    assert active.activated_at is not None
    mine = told[one.follower.replica]
    assert mine.signs_until == active.activated_at + SETTINGS.hard_end + MAX_SKEW_SECONDS
    assert mine.token_ttl == SETTINGS.max_token_ttl
    assert (told[edge.replica].signs_until, told[edge.replica].token_ttl) == (0, 0)
    assert told[edge.replica].version == 1


async def test_a_store_that_is_away_is_said_once_and_when_it_is_back(
    store: MemoryKeyStore, nature: Nature
) -> None:
    one = await started(store, nature)
    one.seen.events.clear()
    one.line.cut = True
    for _ in range(3):
        with pytest.raises(UsherError):
            await one.follower.sync()
    one.line.cut = False
    await one.follower.sync()
    said = one.seen.of(KeyStoreStateChanged)
    assert [(event.reachable, event.detail) for event in said] == [(False, "the line is cut"), (True, "")]


async def test_cut_off_for_long_it_is_not_ready(store: MemoryKeyStore, nature: Nature) -> None:
    one = await started(store, nature)
    one.line.cut = True
    nature.seconds += SETTINGS.replica_timeout / 2
    assert one.follower.trouble() is None
    nature.seconds += 1
    assert "has not been reached" in (one.follower.trouble() or "")
    one.sign(300)  # it goes on all the same
    one.line.cut = False
    await one.follower.sync()
    assert one.follower.trouble() is None


async def test_alone_in_its_process_it_is_always_ready(nature: Nature) -> None:
    alone = await started(MemoryKeyStore(nature.clock()), nature)
    nature.seconds += 100_000
    assert alone.follower.trouble() is None


async def test_it_never_goes_back_to_an_older_ring(store: MemoryKeyStore, nature: Nature) -> None:
    one = await started(store, nature)
    await one.rotator.rotate(force=True)
    kids, version = one.kids, one.follower.ring.version
    lost = MemoryKeyStore(nature.clock(), replace(begun(nature.seconds), version=1), shared=True)
    one.line._store = lost
    await one.follower.sync()
    assert one.kids == kids
    assert one.seen.of(KeyStoreOlder) == [KeyStoreOlder(found=1, served=version)]
    # The rotator puts it right.
    await one.beat()
    assert (await lost.load()).ring.version > version
    assert [key.key.kid for key in (await lost.load()).ring.keys] == one.kids == kids


@pytest.mark.parametrize("older", [1, 0])
async def test_one_that_cannot_put_the_newer_ring_back_is_not_ready_and_confirms_nothing(
    store: MemoryKeyStore, nature: Nature, older: int
) -> None:
    """A public edge, when no sidecar was running that has the newer one."""
    one = await started(store, nature)
    await one.rotator.rotate(force=True)
    line, seen = Line(store, nature), Recorder()
    edge = Follower(line, SETTINGS, RingClock(nature.clock()), seen, signs=False)
    await edge.join()
    assert edge.trouble() is None
    served = edge.ring
    version = served.version - older
    lost = MemoryKeyStore(nature.clock(), replace(begun(nature.seconds), version=version), shared=True)
    line._store = lost
    await edge.sync()
    assert edge.ring == served
    assert "lost the ring" in (edge.trouble() or "")
    assert (await lost.load()).replicas == ()
    # Somebody who has it puts it back after all.
    assert (await lost.swap(version, served)).outcome is Outcome.STORED
    await edge.sync()
    assert edge.trouble() is None
    assert [replica.version for replica in (await lost.load()).replicas] == [edge.ring.version]


async def test_another_ring_of_the_same_version_is_served_under_the_next(
    store: MemoryKeyStore, nature: Nature
) -> None:
    """A store that lost what it had, and was gone on with by somebody else."""
    one = await started(store, nature)
    kids, version = one.kids, one.follower.ring.version
    other = begun(nature.seconds)
    went_on = MemoryKeyStore(nature.clock(), replace(other, version=version), shared=True)
    one.line._store = went_on
    await one.follower.sync()
    assert one.follower.diverged
    assert one.kids == kids, "nobody can tell which is newer"
    assert [replica.version for replica in (await went_on.load()).replicas] == [version - 1]
    await one.beat()
    assert not one.follower.diverged
    assert (await went_on.load()).ring.version > version
    assert one.kids == [key.key.kid for key in (await went_on.load()).ring.keys] != kids


async def test_a_ring_that_is_not_put_in_force_is_not_told(store: MemoryKeyStore, nature: Nature) -> None:
    one = await started(store, nature)
    version = one.follower.ring.version
    one.follower.adopt_with(lambda ring: ring.version <= version)
    await store.swap(version, one.follower.ring)
    await one.follower.sync()
    assert one.follower.ring.version == version
    assert [replica.version for replica in (await store.load()).replicas] == [version]


async def test_a_clock_that_is_wrong_is_reported_once_and_when_it_is_over(
    store: MemoryKeyStore, nature: Nature
) -> None:
    one = await started(store, nature)
    assert one.seen.of(ClockSkewed) == []
    for offset in (30, 30, 4, 2, -80, 0):
        one.watch.offset = float(offset)
        await one.follower.sync()
    assert [(event.skew, event.skewed, event.signs) for event in one.seen.of(ClockSkewed)] == [
        (30, True, True),
        (2, False, True),
        (-80, True, False),
        (0, False, True),
    ]


async def test_fetches_are_told_and_known_at_once(store: MemoryKeyStore, nature: Nature) -> None:
    one, two = await started(store, nature), await started(store, nature)
    one.fetches.note("neon-proxy", 1)
    assert (await one.follower.sync()).fetches == (await store.load()).fetches
    assert [fetch.verifier for fetch in (await two.follower.sync()).fetches] == ["neon-proxy"]
    two.line.cut = True
    two.fetches.note("neon-proxy", 2)
    with pytest.raises(UsherError):
        await two.follower.sync()
    two.line.cut = False
    await two.follower.sync()
    assert [fetch.version for fetch in (await store.load()).fetches] == [2]


async def test_who_leaves_is_forgotten_with_its_fetches_kept(store: MemoryKeyStore, nature: Nature) -> None:
    one, two = await started(store, nature), await started(store, nature)
    one.fetches.note("curl", 1)
    await one.follower.leave()
    there = await store.load()
    assert [replica.id for replica in there.replicas] == [two.follower.replica]
    assert [fetch.verifier for fetch in there.fetches] == ["*"]
    two.line.cut = True
    await two.follower.leave()


def test_it_looks_often_enough_to_be_known_alive() -> None:
    for lead, expected in ((3900, LONGEST_BEAT_SECONDS), (20, 20 / 12)):
        settings = RotationSettings(lead_time=lead)
        nature = Nature()
        follower = Follower(MemoryKeyStore(nature.clock()), settings, RingClock(nature.clock()), Recorder())
        assert follower.beat_seconds == pytest.approx(expected)


def test_before_it_has_joined_there_is_no_ring() -> None:
    nature = Nature()
    follower = Follower(
        MemoryKeyStore(nature.clock(), shared=True), SETTINGS, RingClock(nature.clock()), Recorder()
    )
    assert follower.ring == KeyRing(shared=True)
