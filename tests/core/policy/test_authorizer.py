"""The policy in force: replaced whole, counted, and every decision reported without values."""

from __future__ import annotations

import pytest

from sidecar.core.callers import ANONYMOUS, Caller, Proof
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import PolicyDecided
from sidecar.core.policy import UNLIMITED, Ask, Authorizer, Policy, Principal, Rules
from sidecar.core.policy.authorizer import UNKNOWN
from sidecar.core.policy.patterns import parse
from sidecar.core.policy.rules import Rate
from tests.fakes import FakeClock, Recorder

CALLER = Caller(name="orders", proof=Proof.KEY, identity="key", admin=False, attributes={})
RULES = Rules(
    methods=frozenset({"WhoAmI"}), subjects=(parse("alice"),), rate_limit=Rate(per_second=2, burst=2)
)


def who_am_i(subject: str) -> Ask:
    return Ask(method="WhoAmI", principal=Principal(subject=subject))


def refusal(authorizer: Authorizer, caller: Caller, method: str = "WhoAmI") -> UsherError:
    with pytest.raises(UsherError) as caught:
        authorizer.admit(caller, method)
    return caught.value


def test_without_a_policy_everything_is_allowed_and_nothing_reported() -> None:
    seen = Recorder()
    authorizer = Authorizer(None, FakeClock(), seen)
    authorizer.admit(ANONYMOUS, "RotateKeys")
    assert authorizer.decide(ANONYMOUS, Ask(method="RotateKeys")) is UNLIMITED
    assert seen.events == []


def test_every_decision_is_reported() -> None:
    seen = Recorder()
    authorizer = Authorizer(Policy(callers={"orders": RULES}), FakeClock(), seen)
    authorizer.admit(CALLER, "WhoAmI")
    authorizer.decide(CALLER, who_am_i("alice"))
    with pytest.raises(UsherError):
        authorizer.decide(CALLER, who_am_i("bob"))
    refusal(authorizer, CALLER, "IssueToken")
    decided = seen.of(PolicyDecided)
    assert [(event.method, event.verdict, event.rule) for event in decided] == [
        ("WhoAmI", "allowed", ""),
        ("WhoAmI", "refused", "callers.orders.subjects"),
        ("IssueToken", "refused", "callers.orders.methods"),
    ]
    assert {event.caller for event in decided} == {"orders"}
    assert "bob" not in repr(decided)


def test_asks_that_are_one_call_are_reported_once() -> None:
    seen = Recorder()
    authorizer = Authorizer(Policy(callers={"orders": RULES}), FakeClock(), seen)
    authorizer.decide(CALLER, who_am_i("alice"), who_am_i("alice"))
    with pytest.raises(UsherError):
        authorizer.decide(CALLER, who_am_i("alice"), who_am_i("bob"), who_am_i("bob"))
    assert [event.verdict for event in seen.of(PolicyDecided)] == ["allowed", "refused"]


def test_callers_that_the_policy_does_not_have() -> None:
    seen = Recorder()
    authorizer = Authorizer(Policy(callers={"orders": RULES}), FakeClock(), seen)
    stranger = Caller(name="gone", proof=Proof.KEY, identity="key", admin=True, attributes={})
    for caller in (ANONYMOUS, stranger):
        assert refusal(authorizer, caller).metadata == {"rule": "callers"}
    assert [event.caller for event in seen.of(PolicyDecided)] == ["anonymous", UNKNOWN]


async def test_a_rate_limit_says_when_to_come_again() -> None:
    clock, seen = FakeClock(), Recorder()
    authorizer = Authorizer(Policy(callers={"orders": RULES}), clock, seen)
    for _ in range(2):
        authorizer.admit(CALLER, "WhoAmI")
    error = refusal(authorizer, CALLER)
    assert (error.reason, error.retry_after) == (Reason.RATE_LIMITED, 0.5)
    assert error.metadata == {"rule": "callers.orders.rate_limit"}
    assert error.retryable
    assert [event.rule for event in seen.of(PolicyDecided)] == ["callers.orders.rate_limit"]
    await clock.advance(0.5)
    authorizer.admit(CALLER, "WhoAmI")
    refusal(authorizer, CALLER)


def test_a_replaced_policy_is_in_force_at_once_and_keeps_what_was_used() -> None:
    authorizer = Authorizer(Policy(callers={"orders": RULES}), FakeClock(), Recorder())
    for _ in range(2):
        authorizer.admit(CALLER, "WhoAmI")
    same = Policy(callers={"orders": RULES, "other": Rules()})
    authorizer.replace(same)
    assert authorizer.policy is same
    assert refusal(authorizer, CALLER).reason is Reason.RATE_LIMITED
    authorizer.replace(Policy(callers={"other": Rules()}))
    assert refusal(authorizer, CALLER).reason is Reason.POLICY_REFUSED


def test_processes_let_through_no_more_together_than_one_would() -> None:
    clock, policy = FakeClock(), Policy(callers={"orders": RULES})
    each = [Authorizer(policy, clock, Recorder(), processes=2) for _ in range(2)]
    for authorizer in each:
        authorizer.admit(CALLER, "WhoAmI")
        refused = refusal(authorizer, CALLER)
        assert (refused.reason, refused.retry_after) == (Reason.RATE_LIMITED, 1.0)


def test_a_burst_that_cannot_be_divided_is_refused() -> None:
    policy = Policy(callers={"orders": RULES})
    with pytest.raises(SettingsError, match="burst of 2 cannot be divided among 3 workers"):
        Authorizer(policy, FakeClock(), Recorder(), processes=3)
    authorizer = Authorizer(None, FakeClock(), Recorder(), processes=3)
    with pytest.raises(SettingsError, match=r"callers\.orders\.rate_limit"):
        authorizer.check(policy)
