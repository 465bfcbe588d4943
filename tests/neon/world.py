"""The stage of a scenario: replicas behind one address, Neon's verifiers, traffic, a fast clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from sidecar.core.clock import Clock
from sidecar.core.errors import UsherError
from tests.neon.exact_clock import ExactClock
from tests.neon.issuing import AtOnce, Factory, Replica, Skewed
from tests.neon.origin import Origin, Refused, Reply
from tests.neon.refusals import RefusedError
from tests.neon.token_claims import read_token
from tests.neon.verifier import PUBLISHED, Ages, Rule, Verifier, one_rule

ENDPOINT, ROLE, URL = "ep", "authenticated", "https://issuer.example/.well-known/jwks.json"

Action = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, and by which clock it expires."""

    compact: str
    kid: str
    expires_at: int
    clock: Clock

    @property
    def good(self) -> bool:
        """By the word of the replica that issued it."""
        return self.clock.now() < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a scenario."""

    rotations: int = 0
    restarts: int = 0
    checked: int = 0
    wrongful: Counter[str] = field(default_factory=Counter)
    """Refusals of good tokens, by their text."""
    not_issued: int = 0
    """Requests for a token that no replica could answer."""

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            rotations=self.rotations + other.rotations,
            restarts=self.restarts + other.restarts,
            checked=self.checked + other.checked,
            wrongful=self.wrongful + other.wrongful,
            not_issued=self.not_issued + other.not_issued,
        )


class World:
    """Everything but Usher is a double here. Use it as a context."""

    def __init__(
        self,
        factory: Factory,
        *,
        replicas: Iterable[float] = (0.0,),
        profiles: Iterable[Ages] = (PUBLISHED,),
        ttl: int = 3600,
        seed: int = 0,
    ) -> None:
        """`replicas` says by how many seconds the clock of each is ahead; there is a verifier per profile."""
        self.clock = ExactClock()
        self._factory = factory
        self._clocks = [Skewed(self.clock, ahead) for ahead in replicas]
        self.replicas: list[Replica | None] = [None] * len(self._clocks)
        self._ttl = ttl
        self._chance = random.Random(seed)
        self._known: dict[str, Issued] = {}
        self._kept: dict[str, list[Issued]] = {}
        """Of every key its first and its latest token."""
        self._asking: set[asyncio.Task[None]] = set()
        self._dying: set[asyncio.Task[None]] = set()
        self._plan: list[tuple[float, int, Action]] = []
        self._count = itertools.count()
        self.restarts = self.not_issued = 0
        rules = one_rule(Rule(jwks_url=URL, role_names=(ROLE,)))
        self.verifiers = [
            Verifier(
                Origin(self.clock, lambda url: self._serve()),
                rules,
                self.clock,
                ages=ages,
                good=lambda compact: self._known[compact].good,
                seed=number,
            )
            for number, ages in enumerate(profiles)
        ]

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_default_executor(AtOnce())
        for number in range(len(self.replicas)):
            await self._start(number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for replica in self.replicas:
            if replica is not None:
                await replica.kill()
        await asyncio.gather(*self._dying)
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for verifier in self.verifiers:
            await verifier.close()

    def at(self, seconds: float, action: Action) -> None:
        """Plans an action for so many seconds after the beginning."""
        heapq.heappush(self._plan, (seconds, next(self._count), action))

    def every(self, seconds: float, until: float, action: Action, first: float = 0.0) -> None:
        """Plans it again and again."""
        moment = first
        while moment < until:
            self.at(moment, action)
            moment += seconds

    async def run(self, until: float) -> Outcome:
        """Does all that is planned up to that time, and tells what came of it."""
        while self._plan and self._plan[0][0] <= until:
            moment, _, action = heapq.heappop(self._plan)
            await self.clock.advance(max(0.0, moment - self.clock.monotonic()))
            await action()
        await self.clock.advance(until - self.clock.monotonic())
        # Who hangs now is counted, too.
        await self.clock.advance(max(verifier.longest_hang for verifier in self.verifiers))
        return Outcome(
            rotations=len(self._kept) - 1,
            restarts=self.restarts,
            checked=sum(verifier.counts.checked for verifier in self.verifiers),
            wrongful=sum((verifier.counts.by_text for verifier in self.verifiers), Counter()),
            not_issued=self.not_issued,
        )

    async def traffic(self) -> None:
        """A new token, shown at once to the first verifier."""
        if (token := self.issue()) is not None:
            await self._show(self.verifiers[0], token)

    def asks(self, number: int) -> Action:
        """A verifier is shown a new token, and of every key the first and the latest that are still good."""

        async def ask() -> None:
            fresh = self.issue()
            for token in [*self._good(), *([fresh] if fresh else [])]:
                await self._show(self.verifiers[number], token)

        return ask

    def issue(self) -> Issued | None:
        """A token of any replica that is up."""
        for replica in self._asked():
            number = self.replicas.index(replica)
            with suppress(UsherError):
                return self._remember(replica.issue(self._ttl), self._clocks[number])
        self.not_issued += 1
        return None

    async def kill(self, number: int) -> None:
        """kill -9."""
        replica, self.replicas[number] = self.replicas[number], None
        if replica is not None:
            await replica.kill()

    def restart(self, number: int, down: float, *, kill: bool = True) -> Action:
        """Kills a replica, or stops it; it is up again after `down` seconds."""

        async def restart() -> None:
            replica, self.replicas[number] = self.replicas[number], None
            if replica is not None:
                await (replica.kill() if kill else replica.stop())
                self._start_later(number, down)

        return restart

    def dies(self, replica: Replica, down: float) -> None:
        """A replica is dead from now on, in the middle of what it does; another is up after `down`."""
        number = self.replicas.index(replica)
        self.replicas[number] = None
        self._dying.add(asyncio.create_task(replica.kill()))
        self._start_later(number, down)

    def _start_later(self, number: int, down: float) -> None:
        self.restarts += 1
        self.at(self.clock.monotonic() + down, lambda: self._start(number))

    async def _start(self, number: int) -> None:
        starting = asyncio.ensure_future(self._factory(self._clocks[number]))
        while not starting.done():
            await self.clock.settle()
        self.replicas[number] = await starting

    def _serve(self) -> Reply:
        """The address in front goes on to a replica that answers, as balancers do."""
        for replica in self._asked():
            return Reply(body=replica.jwks())
        raise Refused

    def _asked(self) -> list[Replica]:
        """Who is up, in the order in which they are asked: those that are not ready when no other is."""
        up = [replica for replica in self.replicas if replica is not None]
        self._chance.shuffle(up)
        return [replica for replica in up if replica.ready] or up

    def _remember(self, compact: str, clock: Clock) -> Issued:
        read = read_token(compact)
        token = Issued(compact, read.kid, read.claims["exp"], clock)
        self._known[compact] = token
        kept = self._kept.setdefault(token.kid, [])
        kept[1:] = [token]
        return token

    def _good(self) -> list[Issued]:
        return [token for kept in self._kept.values() for token in kept if token.good]

    async def _show(self, verifier: Verifier, token: Issued) -> None:
        """Waits only as long as the clock need not move for it."""

        async def show() -> None:
            with suppress(RefusedError):
                await verifier.verify(token.compact, ENDPOINT, ROLE)

        task = asyncio.create_task(show())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        await asyncio.sleep(0)
