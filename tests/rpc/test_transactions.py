"""RunScopedTransaction through a real channel: statements, options, the policy, and results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from usher.v1 import query_service_pb2 as pb
from usher.v1 import values_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import PolicyDecided, QueryFinished
from sidecar.core.policy import Run
from sidecar.core.policy.rules import RoleRules
from sidecar.core.transactions import Isolation
from sidecar.core.values import Kind, Parameter
from sidecar.services.transactions import runs_of
from tests.rpc.running import TRANSACT, Running, integers, principal, running
from tests.rpc.test_policy import RULES, rule_of, served

Value = values_pb2.Value


def transaction(*statements: str | pb.ScopedStatement, **options: Any) -> pb.RunScopedTransactionRequest:
    """A request to run these as alice; a text is SQL."""
    return pb.RunScopedTransactionRequest(
        scope=principal(),
        statements=[pb.ScopedStatement(sql=one) if isinstance(one, str) else one for one in statements],
        options=pb.TransactionOptions(**options),
    )


async def ran(there: Running, request: pb.RunScopedTransactionRequest) -> pb.RunScopedTransactionResponse:
    return await there.answer(TRANSACT, request, pb.RunScopedTransactionResponse)


async def test_statements_and_their_results() -> None:
    async with running() as there:
        second = pb.ScopedStatement(sql="select $1", parameters=[Value(text_value="a")], max_rows=7)
        answer = await ran(there, transaction("select id from things", second))
        assert [list(result.data[0].ints) for result in answer.results] == [[1, 2, 3], [1, 2, 3]]
        first, last = there.backend.statements
        assert (first.sql, first.parameters, first.max_rows) == ("select id from things", (), 1000)
        assert (last.sql, last.parameters, last.max_rows) == ("select $1", (Parameter(Kind.TEXT, "a"),), 7)
        assert [scope.subject for scope in there.backend.scopes] == ["alice"]
        assert there.backend.isolation is Isolation.READ_COMMITTED
        assert [event.statements for event in there.seen.of(QueryFinished)] == [2]


@pytest.mark.parametrize(
    ("level", "isolation"),
    [
        (pb.ISOLATION_LEVEL_READ_COMMITTED, Isolation.READ_COMMITTED),
        (pb.ISOLATION_LEVEL_REPEATABLE_READ, Isolation.REPEATABLE_READ),
        (pb.ISOLATION_LEVEL_SERIALIZABLE, Isolation.SERIALIZABLE),
    ],
)
async def test_options_hold_for_all(level: Any, isolation: Isolation) -> None:
    async with running() as there:
        options = {"read_only": True, "statement_timeout": Duration(nanos=250_000_000)}
        await ran(there, transaction("select 1", "select 2", isolation_level=level, **options))
        assert there.backend.isolation is isolation
        assert [(one.read_only, one.timeout) for one in there.backend.statements] == [(True, 0.25)] * 2


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (transaction(), "INVALID_FIELD", "statements"),
        (transaction(*["select 1"] * 101), "INVALID_FIELD", "statements"),
        (transaction(*["select 1"] * 1001), "INVALID_FIELD", "statements"),
        (transaction("select 1", isolation_level=9), "INVALID_FIELD", "options.isolation_level"),
        (
            transaction("select 1", statement_timeout=Duration(seconds=31)),
            "INVALID_FIELD",
            "options.statement_timeout",
        ),
        (transaction("select 1", "rollback"), "STATEMENT_NOT_ALLOWED", "statements[1].sql"),
        (
            transaction("select 1", pb.ScopedStatement(sql="select 1", max_rows=10_001)),
            "INVALID_FIELD",
            "statements[1].max_rows",
        ),
        (
            transaction("select 1", pb.ScopedStatement(statement="nobodys")),
            "NAMED_STATEMENT_UNKNOWN",
            "statements[1].statement",
        ),
        (
            transaction("select 1", pb.ScopedStatement(sql="select $1", parameters=[Value(uuid_value=b"")])),
            "INVALID_FIELD",
            "statements[1].parameters[0].uuid_value",
        ),
        (
            transaction(
                "select 1",
                pb.ScopedStatement(
                    sql="select $1",
                    parameters=[
                        Value(
                            array_value=values_pb2.ArrayValue(
                                elements=[Value(array_value=values_pb2.ArrayValue())]
                            )
                        )
                    ],
                ),
            ),
            "PARAMETER_TYPE",
            "statements[1].parameters[0].array_value.elements[0]",
        ),
    ],
)
async def test_what_is_refused_names_its_field(
    request_: pb.RunScopedTransactionRequest, reason: str, field: str
) -> None:
    async with running() as there:
        refused = await there.refusal(TRANSACT, request_)
        assert (refused.reason, refused.metadata["field"]) == (reason, field)
        assert there.backend.statements == []


async def test_results_together_beyond_the_message_limit_are_refused_before_the_commit() -> None:
    async with running(max_message_bytes=64 * 1024) as there:
        there.backend.result = integers(*[2**62] * 4000)
        await ran(there, transaction("select 1"))
        assert there.backend.commits == 1
        refused = await there.refusal(TRANSACT, transaction("select 1", "select 2"))
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RESULT_TOO_LARGE")
        assert there.backend.commits == 1


async def test_a_failure_that_may_be_tried_again_says_so() -> None:
    async with running() as there:
        there.backend.failure = UsherError(Reason.SERIALIZATION_FAILURE, "run it again")
        refused = await there.refusal(TRANSACT, transaction("select 1"))
        assert (refused.code, refused.reason, refused.retry_after) == ("ABORTED", "SERIALIZATION_FAILURE", 1)


async def test_a_deadline_ends_it() -> None:
    async with running(default_deadline=0.05) as there:
        there.backend.released.clear()
        refused = await there.refusal(TRANSACT, transaction("select 1", "select 2"), timeout=None)
        assert refused.reason == "DEADLINE_EXCEEDED"
        assert there.backend.cancelled.is_set()
        assert there.backend.commits == 0


def test_the_policy_is_asked_for_each_statement() -> None:
    request = transaction(
        "select 1",
        pb.ScopedStatement(statement="one", max_rows=7),
        statement_timeout=Duration(seconds=2),
    )
    assert runs_of(request) == [
        Run(free=True, timeout=2.0, index=0),
        Run(statement="one", max_rows=7, timeout=2.0, index=1),
    ]


async def test_a_caller_of_named_statements_sends_no_other() -> None:
    one, by_id = (pb.ScopedStatement(statement=name) for name in ("one", "by_id"))
    by_id.parameters.append(Value(int_value=1))
    rules = replace(RULES, free_sql=False, statements=frozenset({"one", "by_id"}), max_rows=5)
    async with served(rules) as there:
        await ran(there, transaction(one, by_id))
        assert [(one.sql, one.read_only, one.max_rows) for one in there.backend.statements] == [
            ("select 1 -- one", True, 5),
            ("select $1::int4", True, 5),
        ]
        for refused in (transaction(one, "select 1"), transaction(one, pb.ScopedStatement(statement="x"))):
            error = await there.refusal(TRANSACT, refused)
            assert (error.code, error.reason) == ("PERMISSION_DENIED", "POLICY_REFUSED")
            assert error.metadata["rule"] == "callers.orders.sql"
            assert error.metadata["statement_index"] == "1"
        assert [event.verdict for event in there.seen.of(PolicyDecided)] == ["allowed", "refused", "refused"]


async def test_the_grant_tightens_all_of_it() -> None:
    roles = RoleRules(default="reader")
    rules = replace(RULES, read_only=True, max_rows=5, statement_timeout=2.0, roles=roles)
    async with served(rules) as there:
        await ran(there, transaction("select 1", "select 2"))
        assert {(one.read_only, one.max_rows, one.timeout) for one in there.backend.statements} == {
            (True, 5, 2.0)
        }
        assert [scope.role for scope in there.backend.scopes] == ["reader"]
        above = transaction("select 1", pb.ScopedStatement(sql="select 1", max_rows=6))
        assert (await there.refusal(TRANSACT, above)).metadata["rule"] == "callers.orders.max_rows"


async def test_the_method_is_listed_by_its_own_name() -> None:
    async with served(replace(RULES, methods=frozenset({"RunScopedQuery"}))) as there:
        assert rule_of(await there.refusal(TRANSACT, transaction("select 1"))) == "callers.orders.methods"
