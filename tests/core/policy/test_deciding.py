"""The decision, field by field: what each opens and narrows, and which rule is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.callers import Caller, Proof
from sidecar.core.errors import Reason, UsherError
from sidecar.core.policy import Ask, Grant, Policy, Principal, Rules, Run, Verdict, decide, explain
from sidecar.core.policy.claim_rules import DerivedClaim, FixedClaim, ListedClaim
from sidecar.core.policy.deciding import check_method, one_grant
from sidecar.core.policy.patterns import parse
from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, RoleRules

CALLER = Caller(name="orders", proof=Proof.KEY, identity="key", admin=False, attributes={"namespace": "shop"})
OPEN = Rules(methods=frozenset(METHODS), subjects=(parse("*"),), free_sql=True, read_only=False)
EVERYTHING = [*METHODS, *ADMIN_METHODS]


def policy(rules: Rules) -> Policy:
    return Policy(callers={"orders": rules})


def ask(method: str = "IssueToken", **changes: Any) -> Ask:
    principal = {"subject": "alice", "audiences": () if method == "IssueToken" else None}
    principal |= {name: changes.pop(name) for name in ("claims", "audiences", "signed") if name in changes}
    return Ask(method=method, principal=Principal(**principal), **changes)  # type: ignore[arg-type]


def granted(rules: Rules, asked: Ask, caller: Caller = CALLER) -> Grant:
    return decide(policy(rules), caller, asked)


def refused(rules: Rules, asked: Ask, caller: Caller = CALLER) -> str:
    """The rule that refuses."""
    with pytest.raises(UsherError) as caught:
        decide(policy(rules), caller, asked)
    assert caught.value.reason is Reason.POLICY_REFUSED
    rule = caught.value.metadata["rule"]
    assert caught.value.message.startswith(f"{rule}: ")
    first = next(step for step in explain(policy(rules), caller, asked) if step.verdict is Verdict.REFUSE)
    assert first.rule == rule
    return rule


@pytest.mark.parametrize("method", EVERYTHING)
def test_without_rules_nothing_is_allowed(method: str) -> None:
    assert refused(Rules(), ask(method)) == "callers.orders.methods"
    assert refused(OPEN, ask(method), replace(CALLER, name="stranger")) == "callers"
    with pytest.raises(UsherError):
        check_method(policy(Rules()), CALLER, method)


@pytest.mark.parametrize("method", ADMIN_METHODS)
def test_an_admin_method_needs_an_admin_by_proof_and_by_policy(method: str) -> None:
    admin = replace(CALLER, admin=True)
    listed = Rules(methods=frozenset({method}))
    assert refused(listed, Ask(method=method), admin) == "callers.orders.admin"
    assert refused(replace(listed, admin=True), Ask(method=method)) == "callers.orders.admin"
    assert granted(replace(listed, admin=True), Ask(method=method), admin)
    assert refused(Rules(admin=True), Ask(method=method), admin) == "callers.orders.methods"


STATEMENTS = pytest.mark.parametrize(
    "method", ["RunScopedQuery", "StreamScopedQuery", "RunScopedTransaction"]
)


@pytest.mark.parametrize(
    "method", ["IssueToken", "RunScopedQuery", "StreamScopedQuery", "RunScopedTransaction", "WhoAmI"]
)
def test_subjects(method: str) -> None:
    for subjects, allowed in (((), False), ((parse("bob"),), False), ((parse("al*"),), True)):
        rules = replace(OPEN, subjects=subjects)
        if allowed:
            granted(rules, ask(method))
        else:
            assert refused(rules, ask(method)) == "callers.orders.subjects"
    assert refused(OPEN, Ask(method=method)) == "callers.orders.subjects"


@pytest.mark.parametrize(
    ("allowed", "named", "signed", "expected"),
    [
        ([], (), False, True),
        ([], ("a",), False, False),
        (["a"], (), False, False),
        (["a"], ("a",), False, True),
        (["a"], ("a", "b"), False, False),
        (["a*"], ("a1", "a2"), False, True),
        (["a"], ("a", "b"), True, True),
        (["a"], ("b",), True, False),
        (["a"], (), True, False),
        ([], (), True, True),
        ([], ("a",), True, False),
    ],
)
def test_audiences(allowed: list[str], named: tuple[str, ...], signed: bool, expected: bool) -> None:
    rules = replace(OPEN, audiences=tuple(map(parse, allowed)))
    asked = ask("WhoAmI" if signed else "IssueToken", audiences=named, signed=signed)
    if expected:
        granted(rules, asked)
    else:
        assert refused(rules, asked) == "callers.orders.audiences"


def test_a_scope_without_a_token_has_no_audience_to_name() -> None:
    granted(replace(OPEN, audiences=(parse("a"),)), ask("WhoAmI"))


def test_claims_that_the_caller_sends() -> None:
    tenant = ListedClaim(texts=(parse("acme"),), required=True)
    rules = replace(OPEN, claims={"tenant": tenant, "note": ListedClaim(any=True)})
    granted(rules, ask(claims={"tenant": "acme"}))
    granted(rules, ask(claims={"tenant": "acme", "note": {"any": [None]}}))
    assert refused(rules, ask(claims={})) == "callers.orders.claims.tenant"
    assert refused(rules, ask(claims={"tenant": []})) == "callers.orders.claims.tenant"
    assert refused(rules, ask(claims={"tenant": "globex"})) == "callers.orders.claims.tenant"
    assert refused(rules, ask(claims={"tenant": "acme", "x": 1})) == "callers.orders.other_claims"
    granted(replace(rules, other_claims=True), ask(claims={"tenant": "acme", "x": 1}))


def test_claims_that_the_sidecar_sets() -> None:
    claims = {"app": FixedClaim(value=["shop", 7]), "ns": DerivedClaim(attribute="namespace")}
    rules = replace(OPEN, claims=claims)
    for sent in ({}, {"app": ["shop", 7.0]}, {"ns": "shop"}):
        assert granted(rules, ask(claims=sent)).claims == {"app": ["shop", 7], "ns": "shop"}
    assert refused(rules, ask(claims={"app": "other"})) == "callers.orders.claims.app"
    assert refused(rules, ask(claims={"ns": "other"})) == "callers.orders.claims.ns"
    nobody = replace(CALLER, attributes={})
    assert refused(rules, ask(), nobody) == "callers.orders.claims.ns"


def test_a_token_is_decided_on_its_claims() -> None:
    rules = replace(OPEN, claims={"app": FixedClaim(value="shop")})
    token = {"audiences": (), "signed": True}
    assert granted(rules, ask("RunScopedQuery", claims={"app": "shop"}, **token)).claims == {"app": "shop"}
    assert refused(rules, ask("RunScopedQuery", claims={"app": "x"}, **token)) == "callers.orders.claims.app"
    assert refused(rules, ask("WhoAmI", claims={"x": 1}, **token)) == "callers.orders.other_claims"


@pytest.mark.parametrize(("ttl", "allowed"), [(None, True), (60.0, True), (60.5, False), (61.0, False)])
def test_the_longest_lifetime(ttl: float | None, allowed: bool) -> None:
    rules = replace(OPEN, max_ttl=60)
    if allowed:
        assert granted(rules, ask(ttl=ttl)).max_ttl == 60
    else:
        assert refused(rules, ask(ttl=ttl)) == "callers.orders.max_ttl"


@STATEMENTS
@pytest.mark.parametrize(
    ("rules", "run", "allowed"),
    [
        (Rules(free_sql=True), Run(free=True), True),
        (Rules(free_sql=True), Run(statement="s"), True),
        (Rules(), Run(free=True), False),
        (Rules(), Run(statement="s"), False),
        (Rules(statements=frozenset({"s"})), Run(statement="s"), True),
        (Rules(statements=frozenset({"s"})), Run(statement="t"), False),
        (Rules(statements=frozenset({"s"})), Run(free=True), False),
        (Rules(statements=frozenset({"s"})), Run(free=True, statement="s"), False),
        (Rules(statements=frozenset({"s"})), Run(), False),
    ],
)
def test_sql(rules: Rules, run: Run, allowed: bool, method: str) -> None:
    rules = replace(OPEN, free_sql=rules.free_sql, statements=rules.statements)
    if allowed:
        granted(rules, ask(method, run=run))
    else:
        assert refused(rules, ask(method, run=run)) == "callers.orders.sql"
    granted(rules, ask("WhoAmI"))


@STATEMENTS
def test_limits_of_a_query(method: str) -> None:
    rules = replace(OPEN, max_rows=10, statement_timeout=2.0, read_only=True)
    grant = granted(rules, ask(method, run=Run(free=True, max_rows=10, timeout=2.0)))
    assert (grant.max_rows, grant.statement_timeout, grant.read_only) == (10, 2.0, True)
    above = ask(method, run=Run(free=True, max_rows=11))
    assert refused(rules, above) == "callers.orders.max_rows"
    above = ask(method, run=Run(free=True, timeout=2.5))
    assert refused(rules, above) == "callers.orders.statement_timeout"


def test_a_refused_transaction_names_the_statement() -> None:
    rules = replace(OPEN, free_sql=False, statements=frozenset({"s"}))
    listed, other = (
        ask("RunScopedTransaction", run=Run(statement=name, index=index)) for index, name in enumerate("st")
    )
    decide(policy(rules), CALLER, listed)
    with pytest.raises(UsherError) as caught:
        decide(policy(rules), CALLER, listed, other)
    assert caught.value.metadata == {"rule": "callers.orders.sql", "statement_index": "1"}
    assert caught.value.message.startswith("statements[1]: callers.orders.sql: ")


def test_what_is_granted_differently_is_refused_together() -> None:
    one = Grant(role="editor", max_rows=7)
    assert one_grant([one, Grant(role="editor", max_rows=7)]) == one
    for other in (Grant(role="viewer", max_rows=7), Grant(role="editor", max_rows=7, claims={"a": 1})):
        with pytest.raises(UsherError) as caught:
            one_grant([one, other])
        assert caught.value.reason is Reason.POLICY_REFUSED
        assert caught.value.metadata["rule"] == "callers"


@pytest.mark.parametrize(
    ("value", "role"),
    [("editor", "app_editor"), ("viewer", "reader"), (None, "reader"), (["editor"], "reader"), (7, "reader")],
)
def test_a_claim_changes_the_role_only_where_it_is_mapped(value: Any, role: str) -> None:
    roles = RoleRules(default="reader", claim="role", by_value={"editor": "app_editor", "7": "seven"})
    rules = replace(OPEN, roles=roles, other_claims=True)
    assert granted(rules, ask("WhoAmI", claims={"role": value})).role == role
    assert granted(rules, ask("WhoAmI")).role == "reader"
    assert granted(OPEN if value is None else replace(OPEN, other_claims=True), ask("WhoAmI")).role is None


def test_a_claim_that_the_sidecar_sets_chooses_the_role_as_well() -> None:
    roles = RoleRules(claim="role", by_value={"editor": "app_editor"})
    rules = replace(OPEN, roles=roles, claims={"role": FixedClaim(value="editor")})
    assert granted(rules, ask("WhoAmI")).role == "app_editor"


def test_the_first_refusal_in_the_order_of_the_rules_is_named() -> None:
    asked = ask("RunScopedQuery", claims={"b": 1, "a": 1}, run=Run(free=True))
    rules = Rules(methods=frozenset({"RunScopedQuery"}))
    steps = [step for step in explain(policy(rules), CALLER, asked) if step.verdict is Verdict.REFUSE]
    assert [step.rule.removeprefix("callers.orders.") for step in steps] == [
        "subjects",
        "other_claims",
        "other_claims",
        "sql",
    ]
    assert "the claim a " in steps[1].why
    hostile = ask(claims={"a\n" * 20: 1})
    assert explain(policy(OPEN), CALLER, hostile)[-1].why.startswith("a claim is none")


def test_a_stream_is_no_query_and_a_query_no_stream() -> None:
    for listed, other in (("RunScopedQuery", "StreamScopedQuery"), ("StreamScopedQuery", "RunScopedQuery")):
        rules = replace(OPEN, methods=frozenset({listed}))
        granted(rules, ask(listed))
        assert refused(rules, ask(other)) == "callers.orders.methods"
