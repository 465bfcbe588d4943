"""The policy in the path of every call: before validation, in what is granted, and in what is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from usher.v1 import key_service_pb2, token_service_pb2
from usher.v1 import query_service_pb2 as pb

from sidecar.core.callers import Caller, Proof
from sidecar.core.events import PolicyDecided
from sidecar.core.policy import ADMIN_METHODS, METHODS, Policy, Rules
from sidecar.core.policy.claim_rules import FixedClaim, ListedClaim
from sidecar.core.policy.patterns import parse
from sidecar.core.policy.rules import Rate, RoleRules
from sidecar.core.statements import Catalog, NamedColumn, NamedStatement
from sidecar.services.access import ACCESS, Listener
from tests.rpc.running import ISSUE, LIST_KEYS, RUN, VERIFY, WHO_AM_I, Running, issue, principal, run, running

CALLER = Caller(name="orders", proof=Proof.KEY, identity="key", admin=False, attributes={})
RULES = Rules(
    methods=frozenset(METHODS), subjects=(parse("alice"),), other_claims=True, free_sql=True, read_only=False
)
CATALOG = Catalog(
    [
        NamedStatement(name="one", sql="select 1 -- one", read_only=True),
        NamedStatement(name="by_id", sql="select $1::int4", params=(NamedColumn("id", "int4"),)),
    ]
)


def served(rules: Rules = RULES, caller: Caller = CALLER, **more: Any) -> Any:
    return running(policy=Policy(callers={"orders": rules}), caller=caller, catalog=CATALOG, **more)


def rule_of(refused: Any) -> str:
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "POLICY_REFUSED")
    assert refused.message.startswith(refused.metadata["rule"] + ": ")
    return str(refused.metadata["rule"])


async def ran(there: Running, request: pb.RunScopedQueryRequest) -> None:
    await there.answer(RUN, request, pb.RunScopedQueryResponse)


@pytest.mark.parametrize("rpc", ACCESS)
async def test_every_rpc_is_refused_before_its_request_is_read(rpc: str) -> None:
    stranger = replace(CALLER, name="stranger", admin=True)
    async with served(caller=stranger, served=ACCESS[rpc].listener) as there:
        for request in (b"", b"\xff malformed"):
            assert rule_of(await there.refusal(rpc, request)) == "callers"
        assert {event.verdict for event in there.seen.of(PolicyDecided)} == {"refused"}


def test_the_admin_methods_are_those_of_the_admin_address() -> None:
    admin = {rpc for rpc, access in ACCESS.items() if access.listener is Listener.ADMIN}
    assert {rpc.rpartition("/")[2] for rpc in admin} == set(ADMIN_METHODS)


@pytest.mark.parametrize("rpc", [rpc for rpc in ACCESS if ACCESS[rpc].listener is Listener.ADMIN])
async def test_admin_methods_need_an_admin(rpc: str) -> None:
    rules = Rules(admin=True, methods=frozenset(ADMIN_METHODS))
    async with served(rules, served=Listener.ADMIN) as there:
        refused = await there.refusal(rpc, b"")
        assert rule_of(refused) == "callers.orders.admin"
    async with served(rules, replace(CALLER, admin=True), served=Listener.ADMIN) as there:
        answer = await there.answer(
            LIST_KEYS, key_service_pb2.ListKeysRequest(), key_service_pb2.ListKeysResponse
        )
        assert len(answer.keys) == 2
        decided = there.seen.of(PolicyDecided)
        assert [(event.method, event.verdict) for event in decided] == [("ListKeys", "allowed")]


async def test_a_subject_that_is_not_the_callers() -> None:
    async with served() as there:
        bob = issue("bob", secret="hidden")
        for method, request in (
            (ISSUE, bob),
            (RUN, run(scope=principal("bob"))),
            (WHO_AM_I, pb.WhoAmIRequest(scope=principal("bob"))),
        ):
            refused = await there.refusal(method, request)
            assert rule_of(refused) == "callers.orders.subjects"
            assert "bob" not in repr(refused)
        assert there.backend.scopes == []


async def test_what_the_sidecar_sets_is_in_token_and_scope() -> None:
    rules = replace(RULES, claims={"app": FixedClaim(value="shop"), "tenant": ListedClaim(any=True)})
    async with served(rules) as there:
        answer = await there.answer(ISSUE, issue(tenant="acme"), token_service_pb2.IssueTokenResponse)
        assert dict(answer.claims)["app"] == "shop"
        verified = await there.answer(
            VERIFY,
            token_service_pb2.VerifyTokenRequest(token=answer.token),
            token_service_pb2.VerifyTokenResponse,
        )
        assert dict(verified.claims)["app"] == "shop"
        await ran(there, run(scope=principal(tenant="acme")))
        await ran(there, run(scope=pb.Scope(token=answer.token)))
        assert [scope.payload["app"] for scope in there.backend.scopes] == ["shop", "shop"]
        refused = await there.refusal(RUN, run(scope=principal(app="mine")))
        assert rule_of(refused) == "callers.orders.claims.app"


async def test_a_token_as_scope_is_decided_on_its_claims() -> None:
    async with served() as there:
        token = await there.token(app="mine")
        claims = {"app": FixedClaim(value="shop")}
        narrower = replace(RULES, claims=claims, other_claims=False)
        there.authorizer.replace(Policy(callers={"orders": narrower}))
        for method, request in (
            (RUN, run(scope=pb.Scope(token=token))),
            (WHO_AM_I, pb.WhoAmIRequest(scope=pb.Scope(token=token))),
        ):
            assert rule_of(await there.refusal(method, request)) == "callers.orders.claims.app"
        there.authorizer.replace(Policy(callers={"orders": replace(RULES, other_claims=False)}))
        refused = await there.refusal(RUN, run(scope=pb.Scope(token=token)))
        assert rule_of(refused) == "callers.orders.other_claims"
        there.authorizer.replace(Policy(callers={"orders": replace(RULES, subjects=(parse("bob"),))}))
        refused = await there.refusal(RUN, run(scope=pb.Scope(token=token)))
        assert rule_of(refused) == "callers.orders.subjects"
        assert there.backend.scopes == []


async def test_a_token_stays_with_its_scope_unless_the_policy_adds_a_claim() -> None:
    async with served() as there:
        token = await there.token(tenant="acme")
        await ran(there, run(scope=pb.Scope(token=token)))
        adding = replace(RULES, claims={"app": FixedClaim(value="shop")})
        there.authorizer.replace(Policy(callers={"orders": adding}))
        await ran(there, run(scope=pb.Scope(token=token)))
        unchanged, added = there.backend.scopes
        assert (unchanged.token, added.token) == (token, None)
        assert added.payload == {**unchanged.payload, "app": "shop"}


async def test_audiences_of_tokens_asked_for_and_used() -> None:
    async with served(replace(RULES, audiences=(parse("a"), parse("b")))) as there:
        asked = issue(audiences=["a", "b"])
        token = (await there.answer(ISSUE, asked, token_service_pb2.IssueTokenResponse)).token
        refused = await there.refusal(ISSUE, issue(audiences=["a", "c"]))
        assert rule_of(refused) == "callers.orders.audiences"
        there.authorizer.replace(Policy(callers={"orders": replace(RULES, audiences=(parse("b"),))}))
        await ran(there, run(scope=pb.Scope(token=token)))
        there.authorizer.replace(Policy(callers={"orders": replace(RULES, audiences=(parse("c"),))}))
        refused = await there.refusal(RUN, run(scope=pb.Scope(token=token)))
        assert rule_of(refused) == "callers.orders.audiences"


async def test_the_lifetime_is_the_smaller_one() -> None:
    async with served(replace(RULES, max_ttl=60)) as there:
        answer = await there.answer(ISSUE, issue(), token_service_pb2.IssueTokenResponse)
        assert answer.expire_time.seconds - answer.issue_time.seconds == 60
        request = issue()
        request.ttl.FromSeconds(61)
        assert rule_of(await there.refusal(ISSUE, request)) == "callers.orders.max_ttl"
    async with served(replace(RULES, max_ttl=7200)) as there:
        answer = await there.answer(ISSUE, issue(), token_service_pb2.IssueTokenResponse)
        assert answer.expire_time.seconds - answer.issue_time.seconds == 300
        refused = await there.refusal(ISSUE, request_of(3601))
        assert refused.reason == "TTL_OUT_OF_RANGE"


async def test_limits_tighten_what_runs() -> None:
    rules = replace(RULES, read_only=True, max_rows=5, statement_timeout=2.0)
    async with served(rules) as there:
        await ran(there, run())
        await ran(there, run(max_rows=3))
        tight, asked = there.backend.statements
        assert (tight.read_only, tight.max_rows, tight.timeout) == (True, 5, 2.0)
        assert (asked.read_only, asked.max_rows) == (True, 3)
        assert rule_of(await there.refusal(RUN, run(max_rows=6))) == "callers.orders.max_rows"
    async with served(replace(RULES, max_rows=100_000, statement_timeout=3600.0)) as there:
        await ran(there, run())
        (statement,) = there.backend.statements
        assert (statement.read_only, statement.max_rows, statement.timeout) == (False, 1000, 30.0)
        assert (await there.refusal(RUN, run(max_rows=10_001))).reason == "INVALID_FIELD"


@pytest.mark.parametrize(("value", "role"), [("editor", "shop_editor"), ("superuser", "reader")])
async def test_a_claim_chooses_only_a_mapped_role(value: str, role: str) -> None:
    roles = RoleRules(default="reader", claim="role", by_value={"editor": "shop_editor"})
    async with served(replace(RULES, roles=roles)) as there:
        await ran(there, run(scope=principal(role=value)))
        token = await there.token(role=value)
        await ran(there, run(scope=pb.Scope(token=token)))
        await there.answer(WHO_AM_I, pb.WhoAmIRequest(scope=principal(role=value)), pb.WhoAmIResponse)
        assert [scope.role for scope in there.backend.scopes] == [role] * 3
        assert {scope.payload["role"] for scope in there.backend.scopes} == {value}


async def test_a_caller_of_named_statements_runs_nothing_else() -> None:
    rules = replace(RULES, free_sql=False, statements=frozenset({"one"}))
    async with served(rules) as there:
        await ran(there, named("one"))
        (statement,) = there.backend.statements
        assert (statement.sql, statement.read_only) == ("select 1 -- one", True)
        for request in (run(), named("by_id"), named("missing"), named("one", sql="select 1"), run("")):
            assert rule_of(await there.refusal(RUN, request)) == "callers.orders.sql"
        assert len(there.backend.statements) == 1


async def test_named_statements_of_a_free_caller() -> None:
    async with served() as there:
        refused = await there.refusal(RUN, named("missing"))
        assert (refused.code, refused.reason) == ("NOT_FOUND", "NAMED_STATEMENT_UNKNOWN")
        assert (await there.refusal(RUN, named("by_id"))).reason == "PARAMETER_COUNT"
        assert (await there.refusal(RUN, named("one", sql="select 1"))).violations.keys() == {"sql"}
        assert (await there.refusal(RUN, run(""))).reason == "SQL_EMPTY"
        assert there.backend.statements == []


async def test_above_the_rate_a_call_is_told_when_to_come_again() -> None:
    async with served(replace(RULES, rate_limit=Rate(per_second=0.1, burst=2))) as there:
        await there.token()
        await there.refusal(ISSUE, issue("bob"))
        refused = await there.refusal(ISSUE, b"\xff")
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert refused.metadata["rule"] == "callers.orders.rate_limit"
        assert refused.retry_after == 10.0
        await there.clock.advance(10.0)
        await there.token()


def named(name: str, sql: str = "") -> pb.RunScopedQueryRequest:
    request = run(sql)
    request.statement = name
    return request


def request_of(ttl: int) -> token_service_pb2.IssueTokenRequest:
    request = issue()
    request.ttl.FromSeconds(ttl)
    return request
