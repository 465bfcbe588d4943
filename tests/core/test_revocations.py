"""The list in force: current or closed, read again and again, and changed by operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sidecar.core.deny_list import By, Revocation
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import RevocationsRead, TokensRevoked
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import (
    GAP_SECONDS,
    LONGEST_RETRY_SECONDS,
    Addition,
    Revocations,
    RevocationSettings,
)
from tests.fakes import START, FakeClock, Recorder

LEAST = 3720.0
SETTINGS = RevocationSettings(least=LEAST, max_age=60.0)


@dataclass
class Shared:
    """A store that others write to as well, and that can be away."""

    clock: FakeClock
    memory: MemoryRevocations = field(init=False)
    shared: bool = True
    told: bool = True
    away: bool = False
    reads: int = 0
    closed: bool = False
    hold: asyncio.Event | None = None
    """When set, readings end only after it."""

    def __post_init__(self) -> None:
        self.memory = MemoryRevocations(self.clock)
        self._news = asyncio.Event()

    async def read(self) -> Sequence[Revocation]:
        self.reads += 1
        self._answer()
        self._news.clear()
        found = await self.memory.read()
        if self.hold is not None:
            await self.hold.wait()
        return found

    async def add(self, addition: Addition) -> Sequence[Revocation]:
        self._answer()
        return await self.memory.add(addition)

    async def remove(self, by: By, value: str) -> Sequence[Revocation]:
        self._answer()
        return await self.memory.remove(by, value)

    async def changed(self) -> None:
        await self._news.wait()

    async def close(self) -> None:
        self.closed = True

    async def by_another(self, addition: Addition) -> None:
        """Another sidecar revokes."""
        await self.memory.add(addition)
        self.notify()

    def notify(self) -> None:
        self._news.set()

    def _answer(self) -> None:
        if self.away:
            raise UsherError(Reason.DATABASE_UNAVAILABLE, "the database does not answer")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Shared:
    return Shared(clock)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def revocations(store: Shared, clock: FakeClock, seen: Recorder) -> Revocations:
    return Revocations(store, SETTINGS, clock, seen)


@asynccontextmanager
async def kept_current(revocations: Revocations, clock: FakeClock) -> AsyncIterator[None]:
    loop = asyncio.create_task(revocations.run())
    await clock.settle()
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


def look(revocations: Revocations, *, jti: str = "id-1", issued_at: int = int(START)) -> None:
    revocations.check(path="token", jti=jti, subject="alice", kid="key-1", issued_at=issued_at)


def refusal(revocations: Revocations, **changes: object) -> UsherError:
    with pytest.raises(UsherError) as refused:
        look(revocations, **changes)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize(("by", "value"), [(By.JTI, "id-1"), (By.SUB, "alice"), (By.KID, "key-1")])
async def test_the_refusal_names_the_kind_and_never_the_value(
    revocations: Revocations, seen: Recorder, by: By, value: str
) -> None:
    await revocations.refresh()
    look(revocations)
    entry = await revocations.revoke(by, value)
    refused = refusal(revocations)
    assert refused.reason is Reason.TOKEN_REVOKED
    assert dict(refused.metadata) == {"field": "token", "revoked_by": by.value}
    assert refused.message.startswith(f"token: revoked by {by.value}: ")
    assert value not in refused.message
    assert not refused.retryable
    assert seen.of(TokensRevoked) == [TokensRevoked(by=by.value, action="revoke")]
    assert revocations.in_force() == [entry]
    assert await revocations.lift(by, value)
    look(revocations)
    assert seen.of(TokensRevoked)[1:] == [TokensRevoked(by=by.value, action="lift")]
    assert not await revocations.lift(by, value)
    assert len(seen.of(TokensRevoked)) == 2


@pytest.mark.parametrize(("asked", "lasts"), [(None, LEAST), (60.0, LEAST), (LEAST + 1, LEAST + 1)])
async def test_an_entry_lasts_as_long_as_any_token_lives(
    revocations: Revocations, clock: FakeClock, asked: float | None, lasts: float
) -> None:
    entry = await revocations.revoke(By.JTI, "id-1", seconds=asked)
    assert entry.expires_at == START + lasts
    await clock.advance(lasts - 1)
    await revocations.refresh()
    assert refusal(revocations).reason is Reason.TOKEN_REVOKED
    await clock.advance(1)
    look(revocations)


async def test_a_user_may_be_signed_out_or_locked_out(revocations: Revocations, clock: FakeClock) -> None:
    await clock.advance(0.7)
    entry = await revocations.revoke(By.SUB, "alice", existing_only=True)
    assert entry.issued_until == int(START)
    assert refusal(revocations).reason is Reason.TOKEN_REVOKED
    look(revocations, issued_at=int(START) + 1)
    entry = await revocations.revoke(By.SUB, "alice")
    assert entry.issued_until is None
    assert refusal(revocations, issued_at=int(START) + 1).reason is Reason.TOKEN_REVOKED


async def test_only_users_can_be_signed_out(revocations: Revocations) -> None:
    assert (await revocations.revoke(By.KID, "key-1", existing_only=True)).issued_until is None


async def test_before_the_first_reading_nobody_is_let_through(
    revocations: Revocations, store: Shared
) -> None:
    assert revocations.age == float("inf")
    refused = refusal(revocations)
    assert refused.reason is Reason.DATABASE_UNAVAILABLE
    assert refused.retryable
    store.away = True
    with pytest.raises(UsherError, match="does not answer"):
        await revocations.refresh()
    assert "does not answer" in refusal(revocations).message


async def test_a_list_that_is_too_old_lets_nobody_through_until_it_is_read_again(
    revocations: Revocations, store: Shared, clock: FakeClock, seen: Recorder
) -> None:
    async with kept_current(revocations, clock):
        assert revocations.age == 0
        store.away = True
        store.notify()
        await clock.advance(60)
        assert revocations.age == 60
        assert revocations.trouble() is None
        look(revocations)
        await clock.advance(0.1)
        assert "does not answer" in (revocations.trouble() or "")
        assert refusal(revocations).reason is Reason.DATABASE_UNAVAILABLE
        # What is known is still refused by whoever does not need a current list.
        revocations.check_known(path="subject", jti="id-1", subject="alice", issued_at=0)
        store.away = False
        await clock.advance(LONGEST_RETRY_SECONDS)
        assert revocations.trouble() is None
        look(revocations)
    assert {event.outcome for event in seen.of(RevocationsRead)} == {"read", "failed"}


async def test_a_reason_other_than_being_away_is_passed_on(revocations: Revocations, store: Shared) -> None:
    async def not_installed() -> Sequence[Revocation]:
        raise UsherError(Reason.DATABASE_NOT_INSTALLED, "run `usher db install`")

    store.read = not_installed  # type: ignore[method-assign]
    with pytest.raises(UsherError):
        await revocations.refresh()
    assert refusal(revocations).reason is Reason.DATABASE_NOT_INSTALLED


async def test_an_operator_may_prefer_to_go_on(store: Shared, clock: FakeClock) -> None:
    store.away = True
    settings = RevocationSettings(least=LEAST, max_age=60.0, allow_stale=True)
    revocations = Revocations(store, settings, clock, Recorder())
    assert revocations.trouble() is None
    look(revocations)


async def test_the_clock_may_be_set_back_without_making_the_list_young(
    revocations: Revocations, clock: FakeClock
) -> None:
    await revocations.refresh()
    await clock.advance(61)
    clock.set_back(1000)
    assert revocations.age == 61
    assert refusal(revocations).reason is Reason.DATABASE_UNAVAILABLE


async def test_what_others_revoke_is_in_force_as_soon_as_it_is_heard_of(
    revocations: Revocations, store: Shared, clock: FakeClock
) -> None:
    async with kept_current(revocations, clock):
        await clock.advance(1)
        look(revocations)
        await store.by_another(Addition(by=By.JTI, value="id-1", seconds=100))
        await clock.settle()  # without any time passing
        assert refusal(revocations).reason is Reason.TOKEN_REVOKED


async def test_a_flood_of_notifications_does_not_make_a_flood_of_readings(
    revocations: Revocations, store: Shared, clock: FakeClock
) -> None:
    async with kept_current(revocations, clock):
        before = store.reads
        for _ in range(100):
            store.notify()
            await clock.advance(GAP_SECONDS / 10)
        assert store.reads - before <= 10 + 1


async def test_retries_grow_apart_and_begin_anew(
    revocations: Revocations, store: Shared, clock: FakeClock
) -> None:
    store.away = True
    async with kept_current(revocations, clock):
        await clock.advance(60)
        assert 10 <= store.reads <= 20
        store.away = False
        await clock.advance(LONGEST_RETRY_SECONDS)
        store.away, store.reads = True, 0
        store.notify()
        await clock.advance(0.5)
        assert store.reads == 2


async def test_an_older_list_never_replaces_a_newer_one(
    revocations: Revocations, store: Shared, clock: FakeClock
) -> None:
    store.hold = asyncio.Event()
    reading = asyncio.create_task(revocations.refresh())
    await clock.settle()
    revoking = asyncio.create_task(revocations.revoke(By.JTI, "id-1"))
    await clock.settle()
    store.hold.set()
    await asyncio.gather(reading, revoking)
    assert refusal(revocations).reason is Reason.TOKEN_REVOKED


async def test_age_counts_from_when_a_reading_began(
    revocations: Revocations, store: Shared, clock: FakeClock
) -> None:
    store.hold = asyncio.Event()
    reading = asyncio.create_task(revocations.refresh())
    await clock.advance(3)
    store.hold.set()
    await reading
    assert revocations.age == 3


async def test_what_cannot_be_revoked_is_an_error(revocations: Revocations, store: Shared) -> None:
    await revocations.refresh()
    store.away = True
    for act in (revocations.revoke, revocations.lift):
        with pytest.raises(UsherError, match="does not answer"):
            await act(By.JTI, "id-1")


async def test_the_store_says_who_shares_it_and_is_closed(revocations: Revocations, store: Shared) -> None:
    assert (revocations.shared, revocations.told) == (True, True)
    store.shared = store.told = False
    assert (revocations.shared, revocations.told) == (False, False)
    await revocations.close()
    assert store.closed


@pytest.mark.parametrize("age", [9.9, 86_401.0])
def test_an_age_that_makes_no_sense_is_refused(age: float) -> None:
    with pytest.raises(SettingsError, match="revocation_max_age"):
        RevocationSettings(least=LEAST, max_age=age).validate()
    SETTINGS.validate()
