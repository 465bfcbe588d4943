"""Replicas over one key store, disturbed at random: no token is refused by a verifier that keeps sets for as
long as the lead time allows for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.keyring import KeyState
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.rotation_settings import RotationSettings
from tests.fleet import CrashError, Member, Nature

SETTINGS = RotationSettings(period=400, lead_time=400, max_token_ttl=100)
LAG = 4.0
CACHE = SETTINGS.lead_time - 2 * LAG
"""How long verifiers keep a set: the rest is for answers of the store that are on their way."""
SIZE = 3
REFUSALS = (
    Reason.LEAD_TIME_NOT_ELAPSED,
    Reason.KEY_STORE_UNAVAILABLE,
    Reason.KEY_STORE_CONFLICT,
    Reason.SIGNING_UNAVAILABLE,
)

member_numbers = st.integers(0, SIZE - 1)
passing = st.tuples(st.just("pass"), st.sampled_from([10, 50, 140, 300, 500, 1000]))
actions = st.one_of(
    passing,
    passing,
    passing,
    st.tuples(st.just("beat"), member_numbers),
    st.tuples(st.just("cut"), member_numbers),
    st.tuples(st.just("mend"), member_numbers),
    st.tuples(st.just("skew"), st.tuples(member_numbers, st.sampled_from([-50, -30, 0, 30, 50, 90]))),
    st.tuples(st.just("lag"), st.tuples(member_numbers, st.sampled_from([0.0, 1.0, LAG]))),
    st.tuples(st.just("restart"), member_numbers),
    st.tuples(st.just("crash"), st.tuples(member_numbers, st.integers(0, 9))),
    st.tuples(st.just("leave"), member_numbers),
    st.tuples(st.just("rotate"), member_numbers),
)


@dataclass(frozen=True, slots=True)
class Token:
    kid: str
    expires_at: float


class Stage:
    """The replicas, and what they have signed and served."""

    def __init__(self) -> None:
        self.nature = Nature()
        self.store = MemoryKeyStore(self.nature.clock(), shared=True)
        self.members: list[Member | None] = []
        self.tokens: list[Token] = []
        self.served: list[tuple[float, frozenset[str]]] = []
        self.active: set[str] = set()
        self.turn = 0

    async def start(self, number: int) -> None:
        """Whoever crashes while it starts is not there."""
        self.members[number] = None
        self.members[number] = await Member(self.store, SETTINGS, self.nature).start()

    async def do(self, action: str, what: object) -> None:
        if action == "pass":
            assert isinstance(what, int)
            # Each has its turn, and between two turns they differ.
            end = self.nature.seconds + what
            while self.nature.seconds < end:
                self.turn = (self.turn + 1) % SIZE
                await self.beat(self.turn)
                self.look()
                self.nature.seconds += 10
        elif isinstance(what, tuple):
            number, value = what
            member = self.members[number]
            if member is None:
                return
            if action == "skew":
                member.watch.offset = float(value)
            elif action == "lag":
                member.line.lag = float(value)
            else:
                member.line.crash_at = int(value)
                await self.beat(number)
        else:
            assert isinstance(what, int)
            await self.one(action, what)

    async def one(self, action: str, number: int) -> None:
        member = self.members[number]
        if member is None or action == "restart":
            await self.start(number)
        elif action == "beat":
            await self.beat(number)
        elif action == "leave":
            self.members[number] = None
            with suppress(CrashError):
                await member.follower.leave()
        elif action == "rotate":
            try:
                await member.rotator.rotate(force=False)
            except CrashError:
                self.members[number] = None
            except UsherError as error:
                if error.reason not in REFUSALS:
                    raise
        else:
            member.line.cut = action == "cut"

    async def beat(self, number: int) -> None:
        member = self.members[number]
        try:
            if member is not None:
                await member.beat()
        except CrashError:
            self.members[number] = None

    def look(self) -> None:
        """Everyone signs and serves, and nobody may be refused."""
        now = self.nature.seconds
        up = [member for member in self.members if member is not None]
        for member in up:
            # Who is not ready is asked for no keys.
            if member.follower.trouble() is None:
                served = frozenset(member.kids)
                missing = [
                    token for token in self.tokens if token.expires_at > now and token.kid not in served
                ]
                assert not missing, "a good token's key is not in a set that is served"
                self.served.append((now, served))
        self.served = [(at, kids) for at, kids in self.served if at >= now - CACHE]
        self.tokens = [token for token in self.tokens if token.expires_at > now]
        for member in up:
            try:
                kid = member.sign(SETTINGS.max_token_ttl).kid
            except UsherError as error:
                if error.reason is not Reason.SIGNING_UNAVAILABLE:
                    raise
                continue
            assert all(kid in kids for _, kids in self.served), "a kept set lacks a key that signs"
            self.tokens.append(Token(kid, now + SETTINGS.max_token_ttl))
            self.active.add(kid)

    async def recover(self) -> None:
        """With all disturbances gone, the replicas agree and keys take turns."""
        for number in range(SIZE):
            member = self.members[number]
            if member is None:
                await self.start(number)
            else:
                member.line.cut, member.line.lag, member.line.crash_at = False, 0.0, None
                member.watch.offset = 0.0
        before = len(self.active)
        await self.do("pass", 8 * SETTINGS.period)
        assert len(self.active) >= before + 2
        for number in [*range(SIZE)] * 3:  # what one has just changed, the others hear of
            await self.beat(number)
        up = [member for member in self.members if member is not None]
        assert len({tuple(member.kids) for member in up}) == 1
        states = [key.state for key in up[0].signer.ring.keys]
        assert (states.count(KeyState.ACTIVE), states.count(KeyState.PREPARED)) == (1, 1)


async def play(script: list[tuple[str, object]]) -> None:
    stage = Stage()
    stage.members = [None] * SIZE
    for number in range(SIZE):
        await stage.start(number)
    for action, what in script:
        await stage.do(action, what)
        stage.look()
    await stage.recover()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(actions, min_size=10, max_size=40))
def test_whatever_happens_no_token_is_refused(script: list[tuple[str, object]]) -> None:
    asyncio.run(play(script))
