"""No token that is good by the issuer's word is refused by the double of Neon's verifier, whatever happens.

Each scenario runs on Usher, where nothing may be refused, and on a naive signer, where something must be: a
double that refuses nothing would prove nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sidecar.core.keyring import RotationSettings
from tests.fakes import Recorder
from tests.neon import refusals
from tests.neon.conftest import Record
from tests.neon.issuing import Factory, memory, naive
from tests.neon.table import Row
from tests.neon.verifier import HOSTED, PUBLISHED, Ages
from tests.neon.world import Outcome, World

SHORTEST = RotationSettings(period=330, lead_time=330)
"""Enough for verifiers as published."""
SAFE = RotationSettings(period=3900, lead_time=3900)
"""Enough for those that keep a set for an hour."""
NOTED = Recorder()
BITTEN: dict[str, int] = {}
"""The naive signer's refusals in each scenario, which it plays but once."""

Play = Callable[[Factory], Outcome]


def on_both(scenario: str, play: Play, settings: RotationSettings, record: Record) -> Outcome:
    """Plays a scenario on Usher and on the naive signer, and puts both into the table."""
    outcome = play(memory(settings, NOTED))
    bitten = 0
    if scenario not in BITTEN:
        bitten = BITTEN[scenario] = play(naive(settings)).wrongful.total()
        assert bitten, "a double that refuses nothing proves nothing"
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
    return outcome


NEAR = (-5, -1, -0.25, 0, 0.25, 1, 5)
FAR = [sign * seconds for seconds in (29, 30, 31, 299, 300, 301, 3599, 3600, 3601) for sign in (-1, 1)]


@st.composite
def instants(draw: st.DrawFn, settings: RotationSettings) -> list[float]:
    """When an otherwise idle verifier has requests, and so fetches, in the course of ten rotations.

    At most rotations once just before or just after, so that its set was fetched just before one key was
    published and is used just after that key signs; then around the other events in a key's life.
    """
    near = [
        number * settings.period + draw(st.sampled_from(NEAR))
        for number in range(1, 11)
        if draw(st.booleans())
    ]
    around = st.builds(
        lambda number, event, offset: max(0.0, number * settings.period + event + offset),
        st.integers(0, 10),
        st.sampled_from([0, settings.lead_time, settings.hold]),
        st.sampled_from([*NEAR, *FAR]),
    )
    return near + draw(st.lists(around, max_size=6))


def ten_rotations(
    factory: Factory, settings: RotationSettings, profiles: Sequence[Ages], asked: Sequence[Sequence[float]]
) -> Outcome:
    """The first verifier has constant traffic, each of the others is asked at instants of its own."""

    async def play() -> Outcome:
        async with World(factory, profiles=[profiles[0], *profiles], ttl=settings.max_token_ttl) as world:
            end = 10 * settings.period + 1
            world.every(settings.period / 50, end, world.traffic)
            world.at(end, world.traffic)
            for number, moments in enumerate(asked, start=1):
                for moment in moments:
                    world.at(moment, world.asks(number))
            return await world.run(end)

    return asyncio.run(play())


FEW = hypothesis_settings(
    deadline=None,
    # Shrinking what fails would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@hypothesis_settings(FEW, max_examples=15)
@given(asked=st.tuples(instants(SHORTEST), instants(SHORTEST)))
def test_ten_rotations_with_the_shortest_lead_time(
    record: Record, asked: tuple[list[float], list[float]]
) -> None:
    def play(factory: Factory) -> Outcome:
        return ten_rotations(factory, SHORTEST, [PUBLISHED, PUBLISHED], asked)

    outcome = on_both("ten rotations, fetches at the worst instants", play, SHORTEST, record)
    assert outcome.rotations == 10


@hypothesis_settings(FEW, max_examples=5)
@given(asked=st.tuples(instants(SAFE), instants(SAFE)))
def test_ten_rotations_with_verifiers_that_keep_a_set_for_an_hour(
    record: Record, asked: tuple[list[float], list[float]]
) -> None:
    def play(factory: Factory) -> Outcome:
        return ten_rotations(factory, SAFE, [HOSTED, PUBLISHED], asked)

    outcome = on_both("the same, verifiers that keep a set for an hour", play, SAFE, record)
    assert outcome.rotations == 10


def test_an_idle_verifier_wakes_with_a_set_that_is_an_hour_old(record: Record) -> None:
    """Whatever happened to the keys since it fell asleep, a quarter of an hour apart over two periods."""

    async def sleep(factory: Factory, age: float, profile: Ages) -> Outcome:
        async with World(factory, profiles=[PUBLISHED, *[profile] * 9]) as world:
            end = 3 * SAFE.period
            world.every(60, end, world.traffic)
            for number in range(1, 10):
                asleep = 900.0 * (number - 1)
                world.at(asleep, world.asks(number))
                for seconds in (0, 0.25, 31, 301):
                    world.at(asleep + age + seconds, world.asks(number))
            return await world.run(end)

    def play(factory: Factory) -> Outcome:
        ages = itertools.product([3599, 3600, 3601], [PUBLISHED, HOSTED])
        return sum((asyncio.run(sleep(factory, age, profile)) for age, profile in ages), Outcome())

    on_both("an idle verifier wakes with an hour-old set", play, SAFE, record)


@pytest.mark.parametrize(
    ("profile", "lead_time", "enough"),
    [(PUBLISHED, 300, True), (PUBLISHED, 285, False), (HOSTED, 3601, True), (HOSTED, 3599, False)],
)
def test_the_lead_time_has_a_sharp_edge(profile: Ages, lead_time: int, enough: bool) -> None:
    """A verifier that fetched just before a key was published meets it as soon as it signs."""

    async def play() -> Outcome:
        settings = RotationSettings(period=lead_time, lead_time=lead_time, unsafe_timing=True)
        async with World(memory(settings, NOTED), profiles=[profile] * 2) as world:
            # The key that is published at the first rotation signs at the second.
            world.at(lead_time - 0.25, world.asks(1))
            world.at(2 * lead_time, world.asks(1))
            return await world.run(2 * lead_time)

    assert bool(asyncio.run(play()).wrongful) is not enough


class BriefHold(RotationSettings):
    """Keys leave the set before their last token has expired."""

    @property
    def hold(self) -> int:
        return self.max_token_ttl - 30


def test_a_key_that_leaves_before_its_tokens_is_noticed() -> None:
    async def play(settings: RotationSettings) -> Outcome:
        async with World(memory(settings, NOTED), ttl=settings.max_token_ttl) as world:
            end = 2 * settings.period + settings.max_token_ttl
            world.every(5, end, world.traffic)
            world.every(5, end, world.asks(0))
            return await world.run(end)

    for kind, texts in ((RotationSettings, set()), (BriefHold, {refusals.JWK_NOT_FOUND})):
        outcome = asyncio.run(play(kind(period=330, lead_time=330, max_token_ttl=600)))
        assert set(outcome.wrongful) == texts


def test_keys_in_memory_have_a_gap_at_a_restart() -> None:
    """What docs/keys.md warns of; a key store that outlives the process closes it."""

    async def play() -> Outcome:
        async with World(memory(SAFE, NOTED), profiles=[PUBLISHED, HOSTED]) as world:
            world.every(10, 7200, world.traffic)
            world.every(10, 7200, world.asks(1))
            world.at(1000, world.restart(0, down=2))
            return await world.run(7200)

    outcome = asyncio.run(play())
    assert outcome.restarts == 1
    assert outcome.wrongful[refusals.JWK_NOT_FOUND] > 100
