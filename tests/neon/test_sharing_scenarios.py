"""Three replicas over one key store in a real Postgres, whatever happens to them: nothing is refused.

As in test_scenarios.py, each scenario runs on naive signers too, which must be refused: one whose new keys
sign at once, and Usher itself with keys in memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from sidecar.core.keyring import RotationSettings
from sidecar.core.sealing import new_key
from tests.fakes import Recorder
from tests.neon.conftest import Record
from tests.neon.issuing import Factory, memory, naive
from tests.neon.sharing import AWAITS, SharingReplica, Trap, sharing
from tests.neon.table import Row
from tests.neon.verifier import PUBLISHED
from tests.neon.world import Outcome, World
from tests.servers import KEY_LOGIN, Servers

SHORTEST = RotationSettings(period=330, lead_time=330, max_token_ttl=600)
PERIOD = SHORTEST.period
WAITED = SHORTEST.replica_timeout
"""For so long a replica that was killed holds the next key back."""
THREE = (0.0, 0.0, 0.0)
NOTED = Recorder()
BITTEN: dict[str, int] = {}
"""The naive signers' refusals in each scenario, which they play but once."""
EMPTY = """
DELETE FROM usher_keys.key; DELETE FROM usher_keys.replica; DELETE FROM usher_keys.verifier;
UPDATE usher_keys.ring SET version = 0;
"""
AWAY = f"""
ALTER ROLE {KEY_LOGIN} NOLOGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{KEY_LOGIN}';
"""
BACK = f"ALTER ROLE {KEY_LOGIN} LOGIN"

Play = Callable[[World, Trap], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A key store that a scenario may have."""

    admin: str
    """The superuser's address."""
    url: str
    kek: str

    async def run(self, script: str) -> None:
        """As an administrator."""
        connection = await asyncpg.connect(self.admin)
        try:
            await connection.execute(script)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def shared(postgres_servers: Servers) -> Iterator[Shared]:
    with postgres_servers.database() as dsn:
        given = postgres_servers.install_key_store(dsn)
        yield Shared(admin=dsn, url=given["key_store_url"], kek=new_key())
        postgres_servers.execute(dsn, BACK)


def play_on_all(
    scenario: str, shared: Shared, play: Play, record: Record, clocks: tuple[float, ...] = THREE
) -> Outcome:
    """Plays a scenario on Usher with this store and on the naive signers, and puts them into the table."""

    async def on(start: Callable[[Trap], Factory]) -> Outcome:
        trap = Trap()
        await shared.run(EMPTY)
        async with World(
            start(trap), replicas=clocks, profiles=[PUBLISHED] * 3, ttl=SHORTEST.max_token_ttl
        ) as world:
            trap.kill = lambda replica: world.dies(replica, down=2)
            return await play(world, trap)

    outcome = asyncio.run(on(lambda trap: sharing(shared.url, shared.kek, SHORTEST, NOTED, trap)))
    bitten = 0
    if scenario not in BITTEN:
        refused = [
            asyncio.run(on(lambda trap, signer=signer: signer)).wrongful.total()  # type: ignore[misc]
            for signer in (naive(SHORTEST), memory(SHORTEST, NOTED))
        ]
        assert all(refused), "a double that refuses nothing proves nothing"
        bitten = BITTEN[scenario] = sum(refused)
    record(
        Row(
            scenario=scenario,
            rotations=outcome.rotations,
            restarts=outcome.restarts,
            checked=outcome.checked,
            wrongful=outcome.wrongful.total(),
            naive=bitten,
        )
    )
    assert not outcome.wrongful
    assert not outcome.not_issued
    return outcome


def busy(world: World, end: float) -> None:
    """Constant traffic at one verifier, and at the others now and then, at most once a cache's age."""
    world.every(10, end, world.traffic)
    world.every(97, end, world.asks(1))
    world.every(311, end, world.asks(2))


def test_replicas_are_restarted_one_after_the_other(shared: Shared, record: Record) -> None:
    """Three times, by SIGTERM, so that rotations fall into it."""

    async def play(world: World, trap: Trap) -> Outcome:
        end = 6 * PERIOD
        busy(world, end)
        for number, moment in zip(itertools.cycle(range(3)), range(100, int(end) - 100, 200), strict=False):
            world.at(moment, world.restart(number, down=3, kill=False))
        return await world.run(end)

    outcome = play_on_all("rolling restart of 3 replicas", shared, play, record)
    assert outcome.rotations >= 5
    assert outcome.restarts >= 8


@pytest.mark.parametrize("change", range(4))
def test_a_replica_is_killed_at_each_await_of_a_rotation(shared: Shared, record: Record, change: int) -> None:
    """A rotation is up to four changes of the ring: what is known of replicas, the key that signs, the next
    one, and the one that leaves. Whoever comes to the chosen await of the chosen change dies there."""
    sprung: list[list[str]] = []

    async def play(world: World, trap: Trap) -> Outcome:
        every = PERIOD + WAITED + 20
        end = every * (len(AWAITS) + 1)
        busy(world, end)
        for number, point in enumerate(AWAITS, start=1):

            async def set_trap(point: str = point) -> None:
                trap.set(point, change)

            world.at(number * every, set_trap)
        # Naive signers do not come there.
        world.every(every, end, lambda: kill_naive(world), first=every / 2)
        outcome = await world.run(end)
        sprung.append(trap.sprung)
        return outcome

    async def kill_naive(world: World) -> None:
        if not isinstance(world.replicas[0], SharingReplica):
            await world.restart(0, down=2)()

    outcome = play_on_all("kill -9 at each await of a rotation", shared, play, record)
    assert sprung[0] == list(AWAITS)
    assert outcome.restarts == len(AWAITS)
    assert outcome.rotations >= len(AWAITS)


@pytest.mark.parametrize("begins", [-60, 1])
def test_the_database_is_down_during_a_rotation(shared: Shared, record: Record, begins: float) -> None:
    """From before or just after the moment at which a key is due to sign, for four minutes; and again."""

    async def play(world: World, trap: Trap) -> Outcome:
        end = 6 * PERIOD
        busy(world, end)
        for moment in (PERIOD, 3 * PERIOD + 15):
            world.at(moment + begins, lambda: shared.run(AWAY))
            world.at(moment + begins + 240, lambda: shared.run(BACK))
        # Who signs with keys in memory has nothing to lose but itself.
        if not isinstance(world.replicas[0], SharingReplica):
            world.at(2 * PERIOD, world.restart(0, down=2))
        return await world.run(end)

    outcome = play_on_all("the database is down during a rotation", shared, play, record)
    assert outcome.rotations >= 4


def test_a_replica_is_cut_off_from_the_database(shared: Shared, record: Record) -> None:
    """For most of a rotation, in which the others go on. It says that it is not ready, and is not asked."""

    async def play(world: World, trap: Trap) -> Outcome:
        end = 7 * PERIOD
        busy(world, end)

        async def cut(number: int, *, cut: bool) -> None:
            replica = world.replicas[number]
            if isinstance(replica, SharingReplica):
                replica.store.cut = cut
                replica.store.drop()

        for number, moment in ((0, PERIOD - 40), (1, 3 * PERIOD), (2, 5 * PERIOD - 100)):
            world.at(moment, lambda number=number: cut(number, cut=True))  # type: ignore[misc]
            world.at(moment + 250, lambda number=number: cut(number, cut=False))  # type: ignore[misc]
        return await world.run(end)

    outcome = play_on_all("a replica is cut off from the database", shared, play, record)
    assert outcome.rotations >= 4


def test_clocks_of_replicas_differ_by_thirty_seconds(shared: Shared, record: Record) -> None:
    async def play(world: World, trap: Trap) -> Outcome:
        end = 4 * PERIOD
        busy(world, end)
        for number in range(3):
            world.at((number + 0.5) * PERIOD, world.restart(number, down=2))
        return await world.run(end)

    for clocks in ((0.0, 30.0, 0.0), (0.0, -30.0, 0.0)):
        outcome = play_on_all("clocks differ by 30 s", shared, play, record, clocks)
        assert outcome.rotations >= 2
