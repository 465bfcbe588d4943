"""The cache of the double, rule by rule, under a clock that we move."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.fakes import START, FakeClock
from tests.neon import refusals
from tests.neon.making import ec_key, jwk_of, key_set, token
from tests.neon.origin import Origin, Refused, Reply
from tests.neon.refusals import RefusedError
from tests.neon.verifier import HOSTED, PUBLISHED, Ages, Rule, Verifier, one_rule

KEYS = {kid: ec_key() for kid in ("old", "new")}
JWKS = {kid: jwk_of(key, kid) for kid, key in KEYS.items()}
CLAIMS = {"sub": "alice", "exp": int(START) + 100_000}
OLD, NEW = (token(KEYS[kid], kid, CLAIMS) for kid in ("old", "new"))
RULE = Rule(jwks_url="one")


class Place:
    """A verifier, the set it fetches, and a clock."""

    def __init__(self, ages: Ages = PUBLISHED, *rules: Rule) -> None:
        self.clock = FakeClock()
        self.served: dict[str, Reply | OSError] = {"one": Reply(body=key_set(JWKS["old"]))}
        self.origin = Origin(self.clock, self._reply)
        self.rules = rules or (RULE,)
        self.control_plane_works = True
        self.good: set[str] = set()
        self.verifier = Verifier(
            self.origin, self._rules, self.clock, ages=ages, good=lambda token: token in self.good
        )

    def serve(self, *kids: str, url: str = "one") -> None:
        self.served[url] = Reply(body=key_set(*(JWKS[kid] for kid in kids)))

    def start(
        self, compact: str = OLD, role: str = "authenticated", endpoint: str = "ep"
    ) -> asyncio.Task[str]:
        """A request that has begun: its task gives "ok", or the text of the refusal."""

        async def outcome() -> str:
            try:
                await self.verifier.verify(compact, endpoint, role)
            except RefusedError as error:
                return error.text
            return "ok"

        return asyncio.create_task(outcome())

    async def ask(self, compact: str = OLD, role: str = "authenticated", endpoint: str = "ep") -> str:
        """The outcome of a request that is answered at once; "waits" for one that is not."""
        task = self.start(compact, role, endpoint)
        await self.clock.settle()
        if task.done():
            return await task
        task.cancel()
        return "waits"

    def _reply(self, url: str) -> Reply:
        reply = self.served[url]
        if isinstance(reply, OSError):
            raise reply
        return reply

    async def _rules(self, endpoint: str) -> tuple[Rule, ...]:
        if not self.control_plane_works:
            raise OSError
        return self.rules

    @property
    def fetches(self) -> int:
        return len(self.origin.asked)


async def test_a_set_is_fetched_once_for_each_endpoint_and_role() -> None:
    place = Place(PUBLISHED, Rule(jwks_url="one", role_names=("authenticated", "anonymous")))
    for _ in range(2):
        for endpoint in ("ep", "ep-two"):
            for role in ("authenticated", "anonymous"):
                assert await place.ask(OLD, role, endpoint) == "ok"
    assert place.fetches == 4


async def test_the_claims_are_given_back() -> None:
    place = Place()
    claims: Mapping[str, Any] = await place.verifier.verify(OLD, "ep", "authenticated")
    assert claims == CLAIMS


async def test_a_set_of_up_to_300_seconds_is_not_fetched_again() -> None:
    place = Place()
    for seconds in (0, 299, 1):
        await place.clock.advance(seconds)
        assert await place.ask() == "ok"
    assert place.fetches == 1


async def test_an_older_one_serves_once_more_and_is_fetched_behind_that() -> None:
    place = Place()
    await place.ask()
    place.serve("new")
    await place.clock.advance(301)
    assert await place.ask(OLD) == "ok"
    assert place.fetches == 2
    assert await place.ask(OLD) == refusals.JWK_NOT_FOUND
    assert await place.ask(NEW) == "ok"


async def test_no_timer_runs_an_idle_entry_only_ages() -> None:
    place = Place()
    await place.ask()
    place.serve("new")
    await place.clock.advance(3600)
    assert place.fetches == 1
    assert await place.ask(OLD) == "ok"


async def test_after_an_hour_a_request_waits_for_the_fetch() -> None:
    place = Place()
    await place.ask()
    place.served["one"] = Reply(body=key_set(JWKS["new"]), before_head=3)
    await place.clock.advance(3601)
    waiting = place.start(NEW)
    await place.clock.advance(2.9)
    assert not waiting.done()
    await place.clock.advance(0.2)
    assert await waiting == "ok"
    assert await place.ask(OLD) == refusals.JWK_NOT_FOUND


async def test_one_fetch_at_a_time() -> None:
    place = Place()
    place.served["one"] = Reply(body=key_set(JWKS["old"]), before_head=1)
    both = [place.start(), place.start()]
    await place.clock.advance(1)
    assert await asyncio.gather(*both) == ["ok", "ok"]
    assert place.fetches == 1
    await place.clock.advance(300)
    assert [await place.ask() for _ in range(3)] == ["ok"] * 3
    assert place.fetches == 2
    await place.clock.advance(1)
    await place.verifier.settled()


async def test_an_unknown_kid_is_refused_at_once_for_30_seconds() -> None:
    place = Place()
    await place.ask()
    place.serve("old", "new")
    await place.clock.advance(30)
    assert await place.ask(NEW) == refusals.JWK_NOT_FOUND


@pytest.mark.parametrize("age", [30.25, 100, 299])
async def test_an_unknown_kid_hangs_until_the_entry_is_300_seconds_old(age: float) -> None:
    place = Place()
    await place.ask()
    place.serve("old", "new")
    await place.clock.advance(age)
    known, unknown = place.start(NEW), place.start(token(KEYS["new"], "else"))
    await place.clock.advance(299.75 - age)
    assert not known.done()
    assert place.fetches == 1
    await place.clock.advance(0.25)
    assert await known == "ok"
    assert await unknown == refusals.JWK_NOT_FOUND
    assert place.fetches == 2


async def test_an_unknown_kid_fetches_in_line_when_the_entry_is_300_seconds_old() -> None:
    place = Place()
    await place.ask()
    place.serve("old", "new")
    await place.clock.advance(300)
    assert await place.ask(NEW) == "ok"


async def test_a_failed_fetch_wipes_the_set_for_300_seconds() -> None:
    place = Place()
    await place.ask()
    place.served["one"] = Reply(status=404)
    await place.clock.advance(301)
    assert await place.ask() == "ok"
    await place.verifier.settled()
    place.serve("old")
    assert await place.ask() == refusals.JWK_NOT_FOUND
    await place.clock.advance(30)
    assert await place.ask() == refusals.JWK_NOT_FOUND
    await place.clock.advance(1)
    assert await place.ask() == "waits"
    await place.clock.advance(269)
    assert await place.ask() == "ok"


async def test_a_failed_fetch_takes_the_keys_of_its_url_only() -> None:
    place = Place(PUBLISHED, RULE, Rule(jwks_url="two"))
    place.serve("new", url="two")
    assert [await place.ask(OLD), await place.ask(NEW)] == ["ok", "ok"]
    place.served["two"] = Reply(body=b"{}")
    await place.clock.advance(301)
    await place.ask()
    assert [await place.ask(OLD), await place.ask(NEW)] == ["ok", refusals.JWK_NOT_FOUND]


async def test_retries_bridge_a_short_absence_of_the_server() -> None:
    place = Place()
    place.served["one"] = Refused()
    waiting = place.start()
    await place.clock.advance(0)
    place.serve("old")
    await place.clock.advance(7)
    assert await waiting == "ok"


async def test_when_the_rules_cannot_be_had_the_old_entry_stays() -> None:
    place = Place()
    place.control_plane_works = False
    assert await place.ask() == refusals.FETCH_RULES
    place.control_plane_works = True
    assert await place.ask() == "ok"
    place.control_plane_works = False
    await place.clock.advance(3600)
    assert await place.ask() == "ok"
    await place.clock.advance(1)
    assert await place.ask() == refusals.FETCH_RULES
    assert place.verifier.counts.failed_fetches == 0


async def test_a_role_must_be_named_by_the_rule_whose_set_holds_the_kid() -> None:
    place = Place()
    assert await place.ask(OLD, "postgres") == refusals.JWK_NOT_FOUND


async def test_the_first_key_with_the_kid_wins() -> None:
    place = Place()
    place.served["one"] = Reply(body=key_set(JWKS["new"] | {"kid": "old"}, JWKS["old"]))
    assert await place.ask(OLD) == refusals.SIGNATURE


async def test_the_audience_is_the_one_of_the_rule() -> None:
    place = Place(PUBLISHED, Rule(jwks_url="one", audience="me"))
    assert await place.ask(OLD) == refusals.AUDIENCE
    assert await place.ask(token(KEYS["old"], "old", CLAIMS | {"aud": ["you", "me"]})) == "ok"


async def test_the_set_is_fetched_before_the_token_is_believed_but_not_for_what_is_none() -> None:
    place = Place()
    assert await place.ask("garbage") == refusals.ENCODING
    assert place.fetches == 0
    assert await place.ask(token(ec_key(), "old", {"exp": 0})) == refusals.SIGNATURE
    assert place.fetches == 1


async def test_times_are_checked_by_the_clock_on_the_wall() -> None:
    place = Place()
    brief = token(KEYS["old"], "old", {"exp": int(START)})
    await place.clock.advance(29)
    assert await place.ask(brief) == "ok"
    await place.clock.advance(1)
    assert await place.ask(brief) == refusals.expired(int(START))


async def test_names_that_need_an_escape_fail_at_the_second_hop() -> None:
    assert await Place().ask(token(KEYS["old"], "old", {"näme": 1})) == refusals.CLAIM_NAME


async def test_the_hosted_profile_knows_nothing_new_for_an_hour() -> None:
    place = Place(HOSTED)
    await place.ask()
    place.serve("new")
    for seconds in (1, 299, 1, 3299):
        await place.clock.advance(seconds)
        assert await place.ask(NEW) == refusals.JWK_NOT_FOUND
        assert await place.ask(OLD) == "ok"
    assert place.fetches == 1
    await place.clock.advance(1)
    assert await place.ask(NEW) == "ok"
    assert await place.ask(OLD) == refusals.JWK_NOT_FOUND


async def test_the_hosted_profile_is_wiped_for_an_hour() -> None:
    place = Place(HOSTED)
    place.served["one"] = Reply(status=404)
    assert await place.ask() == refusals.JWK_NOT_FOUND
    place.serve("old")
    await place.clock.advance(3600)
    assert await place.ask() == refusals.JWK_NOT_FOUND
    await place.clock.advance(1)
    assert await place.ask() == "ok"


async def test_refusals_are_counted_and_the_wrongful_ones_told_apart() -> None:
    place = Place()
    place.good.add(NEW)
    for compact in (OLD, NEW, token(ec_key(), "old")):
        await place.ask(compact)
    counts = place.verifier.counts
    assert (counts.checked, counts.fetches, len(counts.refused)) == (3, 1, 2)
    assert [(refusal.text, refusal.kid) for refusal in counts.wrongful] == [(refusals.JWK_NOT_FOUND, "new")]
    assert dict(counts.by_text) == {refusals.JWK_NOT_FOUND: 1}


@pytest.mark.parametrize(("age", "wrongful"), [(291, 0), (289, 1)])
async def test_a_good_token_that_hangs_counts_as_refused(age: int, wrongful: int) -> None:
    place = Place()
    place.good.add(NEW)
    await place.ask()
    place.serve("old", "new")
    await place.clock.advance(age)
    waiting = place.start(NEW)
    await place.clock.advance(300 - age)
    assert await waiting == "ok"
    assert len(place.verifier.counts.wrongful) == wrongful


def test_ages_can_be_scaled() -> None:
    assert PUBLISHED.scaled(0.1) == Ages(unknown_kid=3, floor=30, background=30, longest=360)


async def test_closing_ends_what_runs_behind() -> None:
    place = Place()
    await place.ask()
    place.served["one"] = Reply(before_head=4)
    await place.clock.advance(301)
    await place.ask()
    await asyncio.wait_for(place.verifier.close(), 1)
    await asyncio.wait_for(place.verifier.settled(), 1)


async def test_one_rule_is_for_every_endpoint() -> None:
    assert await one_rule(RULE)("any") == (RULE,)
