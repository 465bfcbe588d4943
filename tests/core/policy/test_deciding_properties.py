"""What holds of every decision: deny by default, no widening by a limit, no order, no value in any text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.callers import Caller, Proof
from sidecar.core.errors import UsherError
from sidecar.core.policy import Ask, Grant, Policy, Principal, Rules, Run, Verdict, decide, explain
from sidecar.core.policy.claim_rules import ClaimRule, DerivedClaim, FixedClaim, ListedClaim
from sidecar.core.policy.patterns import Pattern, parse
from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, RoleRules

MARK = "zqx"  # in no name and no text of ours
NAMES = ("tenant", "role", "app")
TEXTS = [f"{MARK}{letter}" for letter in "abc"]

scalars = st.sampled_from([*TEXTS, 7, 1, True, False, 1.5])
values = scalars | st.lists(scalars, max_size=3) | st.just({MARK: MARK}) | st.none()
patterns = st.sampled_from([*TEXTS, f"{MARK}*", "*a", "nothing"]).map(parse)
pattern_sets = st.lists(patterns, max_size=3).map(tuple)
claim_rules: st.SearchStrategy[ClaimRule] = st.one_of(
    st.builds(
        ListedClaim,
        required=st.booleans(),
        any=st.booleans(),
        texts=pattern_sets,
        scalars=st.lists(st.sampled_from([7, True, 1.5]), max_size=2).map(tuple),
    ),
    st.builds(FixedClaim, value=values),
    st.builds(DerivedClaim, attribute=st.sampled_from(["namespace", "uid"])),
)
limits = st.none() | st.integers(1, 3)
rules = st.builds(
    Rules,
    admin=st.booleans(),
    methods=st.frozensets(st.sampled_from([*METHODS, *ADMIN_METHODS])) | st.just(frozenset(METHODS)),
    subjects=pattern_sets,
    audiences=pattern_sets,
    claims=st.dictionaries(st.sampled_from(NAMES), claim_rules),
    other_claims=st.booleans(),
    free_sql=st.booleans(),
    statements=st.frozensets(st.sampled_from(["s", "t"])),
    read_only=st.booleans(),
    roles=st.builds(
        RoleRules,
        default=st.none() | st.just("reader"),
        claim=st.none() | st.sampled_from(NAMES),
        by_value=st.dictionaries(st.sampled_from(TEXTS), st.just("writer")),
    ),
    max_ttl=limits,
    max_rows=limits,
    statement_timeout=limits,
)
principals = st.builds(
    Principal,
    subject=st.sampled_from(TEXTS),
    claims=st.dictionaries(st.sampled_from([*NAMES, "extra"]), values),
    audiences=st.none() | st.lists(st.sampled_from(TEXTS), max_size=2).map(tuple),
    signed=st.booleans(),
)
asks = st.builds(
    Ask,
    method=st.sampled_from([*METHODS, *ADMIN_METHODS]),
    principal=st.none() | principals,
    ttl=limits,
    run=st.none()
    | st.builds(
        Run,
        statement=st.none() | st.sampled_from(["s", "t", MARK]),
        free=st.booleans(),
        max_rows=limits,
        timeout=limits,
    ),
)
callers = st.builds(
    Caller,
    name=st.sampled_from(["orders", "orders", "orders", "stranger"]),
    proof=st.just(Proof.KEY),
    identity=st.just("key"),
    admin=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(["namespace", "uid"]), st.sampled_from(TEXTS)),
)


def outcome(of: Rules, caller: Caller, asked: Ask) -> Grant | str:
    """The grant, or the rule that refused."""
    try:
        return decide(Policy(callers={"orders": of}), caller, asked)
    except UsherError as error:
        return error.metadata["rule"]


def allowed(of: Rules, caller: Caller, asked: Ask) -> bool:
    return isinstance(outcome(of, caller, asked), Grant)


@settings(max_examples=400)
@given(rules, callers, asks)
def test_it_decides_as_the_documentation_says(of: Rules, caller: Caller, asked: Ask) -> None:
    assert allowed(of, caller, asked) == _as_documented(of, caller, asked)


@given(callers, asks)
def test_without_rules_everything_is_refused(caller: Caller, asked: Ask) -> None:
    assert not allowed(Rules(), caller, asked)


@settings(max_examples=200)
@given(rules, callers, asks, st.data())
def test_a_field_that_opens_something_never_opens_it_by_its_absence(
    of: Rules, caller: Caller, asked: Ask, data: st.DataObject
) -> None:
    """Audiences are left out: where it is given, a token must name one of them."""
    nothing = Rules()
    names = ("methods", "subjects", "free_sql", "statements", "other_claims", "admin")
    absent = data.draw(st.sampled_from(names))
    less = replace(of, **{absent: getattr(nothing, absent)})
    if absent == "statements" and of.free_sql:
        less = replace(less, free_sql=False)
    if allowed(less, caller, asked):
        assert allowed(of, caller, asked)


@settings(max_examples=200)
@given(rules, callers, asks, st.data())
def test_a_field_that_narrows_never_widens(
    of: Rules, caller: Caller, asked: Ask, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["max_ttl", "max_rows", "statement_timeout", "read_only", "claims"]))
    if name == "read_only":
        narrow = replace(of, read_only=True)
    elif name == "claims":
        claims = {key: _required(rule) for key, rule in of.claims.items()}
        free = [key for key in NAMES if key not in claims]
        if of.other_claims and free:
            claims[free[0]] = data.draw(claim_rules)
        narrow = replace(of, claims=claims)
    else:
        before = getattr(of, name)
        narrow = replace(of, **{name: data.draw(st.integers(1, before or 3))})
    after, wide = outcome(narrow, caller, asked), outcome(of, caller, asked)
    if isinstance(after, Grant):
        assert isinstance(wide, Grant)
        for limit in ("max_ttl", "max_rows", "statement_timeout"):
            mine, theirs = getattr(after, limit), getattr(wide, limit)
            assert theirs is None or mine <= theirs
        assert after.read_only >= wide.read_only


@settings(max_examples=200)
@given(rules, callers, asks, st.randoms(use_true_random=False))
def test_no_order_matters(of: Rules, caller: Caller, asked: Ask, chance: random.Random) -> None:
    def shuffled(things: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
        return tuple(chance.sample(things, len(things)))

    def reordered(things: Mapping[str, Any]) -> dict[str, Any]:
        return dict(chance.sample(list(things.items()), len(things)))

    other = replace(
        of,
        subjects=shuffled(of.subjects),
        audiences=shuffled(of.audiences),
        claims=reordered(of.claims),
    )
    again = asked
    if asked.principal is not None:
        again = replace(asked, principal=replace(asked.principal, claims=reordered(asked.principal.claims)))
    assert outcome(of, caller, asked) == outcome(other, caller, again)
    among = Policy(callers={"first": Rules(), "orders": of, "last": other})
    alone = Policy(callers={"orders": of})
    assert explain(among, caller, asked) == explain(alone, caller, asked)


@settings(max_examples=300)
@given(rules, callers, asks)
def test_no_text_holds_a_value_and_the_explanation_agrees(of: Rules, caller: Caller, asked: Ask) -> None:
    policy = Policy(callers={"orders": of})
    steps = explain(policy, caller, asked)
    assert MARK not in repr(steps)
    first = next((step for step in steps if step.verdict is Verdict.REFUSE), None)
    if first is not None:
        with pytest.raises(UsherError) as caught:
            decide(policy, caller, asked)
        error = caught.value
        assert MARK not in error.message + repr(error.metadata) + repr(error.violations)
        assert (error.metadata["rule"], error.message) == (first.rule, f"{first.rule}: {first.why}")
        return
    grant = decide(policy, caller, asked)
    added = {step.rule.rpartition(".")[2] for step in steps if step.verdict is Verdict.ADD}
    if asked.principal is not None:
        assert added == grant.claims.keys()


def _required(rule: ClaimRule) -> ClaimRule:
    return replace(rule, required=True) if isinstance(rule, ListedClaim) else rule


def _fits(patterns: tuple[Pattern, ...], text: str) -> bool:
    expressions = [".*".join(map(re.escape, pattern.parts)) for pattern in patterns]
    return any(re.fullmatch(expression, text, re.DOTALL) for expression in expressions)


def _as_documented(of: Rules, caller: Caller, asked: Ask) -> bool:
    """docs/policy.md once more, in other words."""
    method, principal = asked.method, asked.principal
    if caller.name != "orders" or method not in of.methods:
        return False
    if method in ADMIN_METHODS and not (caller.admin and of.admin):
        return False
    if principal is None and method in ("IssueToken", "RunScopedQuery", "StreamScopedQuery", "WhoAmI"):
        return False
    if principal is not None and not _principal_as_documented(of, caller, principal):
        return False
    if method == "IssueToken" and (asked.ttl or 0) > (of.max_ttl or 99):
        return False
    if method in ("RunScopedQuery", "StreamScopedQuery"):
        run = asked.run or Run(free=True)
        named = not run.free and run.statement in of.statements
        if not (of.free_sql or named):
            return False
        if (run.max_rows or 0) > (of.max_rows or 99) or (run.timeout or 0) > (of.statement_timeout or 99):
            return False
    return True


def _principal_as_documented(of: Rules, caller: Caller, principal: Principal) -> bool:
    if not _fits(of.subjects, principal.subject):
        return False
    if principal.audiences is not None:
        fitting = [audience for audience in principal.audiences if _fits(of.audiences, audience)]
        if of.audiences and not fitting:
            return False
        if principal.audiences and not fitting:
            return False
        if not principal.signed and len(fitting) < len(principal.audiences):
            return False
    if not of.other_claims and set(principal.claims) - set(of.claims):
        return False
    for name, rule in of.claims.items():
        sent = name in principal.claims
        value = principal.claims.get(name)
        if isinstance(rule, ListedClaim):
            if rule.required and (not sent or value == []):
                return False
            elements = value if isinstance(value, list) else [value]
            if sent and not rule.any and not all(_listed(rule, element) for element in elements):
                return False
        else:
            if isinstance(rule, DerivedClaim) and rule.attribute not in caller.attributes:
                return False
            ours = rule.value if isinstance(rule, FixedClaim) else caller.attributes[rule.attribute]
            # As JSON writes it: true is not 1. The values here have no 7.0 beside 7.
            if sent and json.dumps(value) != json.dumps(ours):
                return False
    return True


def _listed(rule: ListedClaim, element: Any) -> bool:
    if isinstance(element, str):
        return _fits(rule.texts, element)
    return not isinstance(element, dict | list) and json.dumps(element) in map(json.dumps, rule.scalars)
