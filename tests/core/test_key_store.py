"""Who fetched which set, until a store is told."""

from __future__ import annotations

from sidecar.core.key_store import OTHERS, Fetch, FetchLog, joined
from tests.fakes import START, FakeClock


async def test_fetches_are_kept_until_they_are_told() -> None:
    clock = FakeClock()
    log = FetchLog(clock, ["neon-proxy"])
    assert log.untold() == ()
    log.note("Neon-Proxy", 3)
    await clock.advance(10)
    log.note("neon-proxy", 2)
    log.note("curl", 2)
    expected = (
        Fetch(verifier="neon-proxy", version=3, at=START + 10),
        Fetch(verifier=OTHERS, version=2, at=START + 10),
    )
    assert log.untold() == expected
    log.told(expected[:1])
    assert log.untold() == expected[1:]
    log.told(expected[1:])
    await clock.advance(1)
    log.note("neon-proxy", 3)
    assert log.untold() == (Fetch(verifier="neon-proxy", version=3, at=START + 11),)


async def test_a_fetch_while_the_store_is_told_is_not_lost() -> None:
    clock = FakeClock()
    log = FetchLog(clock, ["neon-proxy"])
    log.note("neon-proxy", 1)
    telling = log.untold()
    await clock.advance(1)
    log.note("neon-proxy", 2)
    log.told(telling)
    assert [fetch.version for fetch in log.untold()] == [2]


def test_the_greater_values_stay() -> None:
    new = Fetch(verifier="v", version=1, at=9.0)
    assert joined(new, None) is new
    assert joined(new, Fetch(verifier="v", version=4, at=3.0)) == Fetch(verifier="v", version=4, at=9.0)
