"""RunScopedQuery and WhoAmI through a real channel: scopes, parameters, limits and results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from usher.v1 import query_service_pb2 as pb
from usher.v1 import values_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import NULL, Column, Kind, Parameter, ResultSet
from tests.rpc.running import MIB, RUN, WHO_AM_I, Running, integers, principal, run, running

Value = values_pb2.Value


async def ran(there: Running, request: pb.RunScopedQueryRequest) -> pb.RunScopedQueryResponse:
    return await there.answer(RUN, request, pb.RunScopedQueryResponse)


async def test_a_statement_and_its_rows() -> None:
    async with running() as there:
        answer = await ran(there, run("select id from things", scope=principal(tenant_id="acme", level=7)))
        assert list(answer.data[0].ints) == [1, 2, 3]
        assert (answer.row_count, answer.command_tag, answer.truncated) == (3, "SELECT 3", False)
        (scope,) = there.backend.scopes
        assert scope.subject == "alice"
        assert '"tenant_id":"acme"' in scope.payload_json
        assert '"level":7' in scope.payload_json
        (statement,) = there.backend.statements
        assert (statement.sql, statement.verb) == ("select id from things", "SELECT")
        assert (statement.read_only, statement.timeout, statement.max_rows) == (False, 30.0, 1000)


async def test_a_token_and_its_principal_are_the_same_scope() -> None:
    async with running() as there:
        token = await there.token(tenant_id="acme")
        await ran(there, run(scope=pb.Scope(token=token)))
        await ran(there, run(scope=principal(tenant_id="acme")))
        by_token, by_name = there.backend.scopes
        assert {**by_token.payload, "jti": ""} == {**by_name.payload, "jti": ""}


async def test_a_token_that_does_not_hold_reaches_no_backend() -> None:
    async with running() as there:
        token = await there.token()
        await there.clock.advance(301)
        refused = await there.refusal(RUN, run(scope=pb.Scope(token=token)))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
        assert refused.metadata["field"] == "scope.token"
        assert refused.message.startswith("scope.token: ")
        assert there.backend.statements == []


@pytest.mark.parametrize(
    ("scope", "reason", "field"),
    [
        (principal(" "), "INVALID_FIELD", "scope.principal.subject"),
        (principal(exp=1), "CLAIM_RESERVED", "scope.principal.claims.exp"),
        (principal(**{"tenänt": 1}), "CLAIM_NAME_INVALID", "scope.principal.claims"),
    ],
)
async def test_principals_that_are_refused(scope: pb.Scope, reason: str, field: str) -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run(scope=scope))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)
        assert list(refused.violations) == [field]
        assert there.backend.statements == []


async def test_parameters_keep_their_form_and_order() -> None:
    async with running() as there:
        array = Value(array_value=values_pb2.ArrayValue(elements=[Value(int_value=1), Value()]))
        sent = [Value(text_value="a"), Value(), Value(int_value=-(2**63)), Value(float_value=0.5), array]
        await ran(there, run("select $1, $2, $3, $4, $5", *sent))
        assert there.backend.statements[0].parameters == (
            Parameter(Kind.TEXT, "a"),
            NULL,
            Parameter(Kind.INT, -(2**63)),
            Parameter(Kind.FLOAT, 0.5),
            Parameter(Kind.ARRAY, (Parameter(Kind.INT, 1), NULL)),
        )


async def test_an_array_inside_an_array_is_refused_by_its_path() -> None:
    async with running() as there:
        inner = Value(array_value=values_pb2.ArrayValue())
        outer = Value(array_value=values_pb2.ArrayValue(elements=[Value(), inner]))
        refused = await there.refusal(RUN, run("select $1, $2", Value(), outer))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PARAMETER_TYPE")
        assert list(refused.violations) == ["parameters[1].array_value.elements[1]"]


async def test_a_parameter_of_the_wrong_form_for_its_kind() -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run("select $1", Value(uuid_value=b"hunter2")))
        assert refused.reason == "INVALID_FIELD"
        assert list(refused.violations) == ["parameters[0].uuid_value"]
        assert "hunter2" not in repr(refused)


async def test_what_the_database_says_of_parameters_arrives() -> None:
    async with running() as there:
        there.backend.failure = UsherError(Reason.PARAMETER_COUNT, "the statement has 2 parameters, not 1")
        refused = await there.refusal(RUN, run("select $1, $2", Value()))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PARAMETER_COUNT")


async def test_options_become_limits() -> None:
    async with running() as there:
        await ran(there, run(read_only=True, statement_timeout=Duration(nanos=250_000_000), max_rows=7))
        (statement,) = there.backend.statements
        assert (statement.read_only, statement.timeout, statement.max_rows) == (True, 0.25, 7)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_rows": 10_001}, "options.max_rows"),
        ({"max_rows": 2**32 - 1}, "options.max_rows"),
        ({"statement_timeout": Duration(seconds=31)}, "options.statement_timeout"),
        ({"statement_timeout": Duration(seconds=2**63 - 1)}, "options.statement_timeout"),
        ({"statement_timeout": Duration(seconds=-1)}, "options.statement_timeout"),
    ],
)
async def test_options_beyond_the_limits(options: dict[str, Any], field: str) -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run(**options))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert list(refused.violations) == [field]


@pytest.mark.parametrize(
    ("sql", "code", "reason"),
    [
        ("", "INVALID_ARGUMENT", "SQL_EMPTY"),
        (" -- nothing\n", "INVALID_ARGUMENT", "SQL_EMPTY"),
        ("COMMIT", "PERMISSION_DENIED", "STATEMENT_NOT_ALLOWED"),
        ("select '\0'", "INVALID_ARGUMENT", "INVALID_FIELD"),
        ("select 1 " + "-" * 256 * 1024, "INVALID_ARGUMENT", "SQL_TOO_LARGE"),
    ],
    ids=["empty", "comment", "utility", "nul", "large"],
)
async def test_statements_that_are_refused(sql: str, code: str, reason: str) -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run(sql))
        assert (refused.code, refused.reason) == (code, reason)
        assert refused.metadata["field"] == "sql"
        assert there.backend.statements == []


async def test_sql_of_100_mb_is_refused_by_the_transport() -> None:
    async with running() as there:
        refused = await there.refusal(RUN, run("select 1 -- " + "x" * 100_000_000))
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "")
        assert (await ran(there, run())).row_count == 3, "the next call is served"


async def test_sql_of_100_mb_is_refused_by_us_when_messages_may_be_that_large() -> None:
    async with running(max_message_bytes=128 * MIB) as there:
        refused = await there.refusal(RUN, run("select 1 -- " + "x" * 100_000_000))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "SQL_TOO_LARGE")
        assert list(refused.violations) == ["sql"]


async def test_a_result_beyond_the_message_limit_is_refused_before_the_commit() -> None:
    async with running(max_message_bytes=64 * 1024) as there:
        there.backend.result = integers(*[2**62] * 10_000)
        refused = await there.refusal(RUN, run())
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RESULT_TOO_LARGE")
        assert refused.metadata["limit"] == "65536"
        assert int(refused.metadata["size"]) > 80_000
        assert refused.retry_after is None
        assert there.backend.commits == 0
        there.backend.result = integers(1)
        assert (await ran(there, run())).row_count == 1


async def test_a_result_that_was_cut_says_so() -> None:
    async with running() as there:
        there.backend.result = replace(integers(1, 2), truncated=True)
        assert (await ran(there, run())).truncated


async def test_every_value_arrives_whole() -> None:
    async with running() as there:
        there.backend.result = ResultSet(
            columns=(
                Column(name="n", type_name="numeric", type_oid=1700, kind=Kind.NUMERIC),
                Column(name="at", type_name="timestamptz", type_oid=1184, kind=Kind.TIMESTAMPTZ),
            ),
            data=(["1" * 1000, None], [(2**63 - 1, 0), (-1, 999_999)]),
            row_count=2,
            truncated=False,
            command_tag="SELECT 2",
            affected_rows=2,
        )
        answer = await ran(there, run())
        assert answer.data[0].texts[0] == "1" * 1000
        assert answer.data[0].nulls == b"\x02"
        assert list(answer.data[1].timestamps.seconds) == [2**63 - 1, -1]


async def test_who_am_i() -> None:
    async with running() as there:
        request = pb.WhoAmIRequest(scope=principal())
        answer = await there.answer(WHO_AM_I, request, pb.WhoAmIResponse)
        assert answer == pb.WhoAmIResponse(
            role="authenticated",
            login_role="usher_app",
            user_id="alice",
            session='{"sub":"alice"}',
            backend_kind="scripted",
            claims_age=Duration(seconds=1, nanos=500_000_000),
            row_security_applies=True,
            database="app",
            server_version=180_004,
        )


async def test_what_postgres_does_not_see_is_absent() -> None:
    async with running() as there:
        there.backend.seen = replace(there.backend.seen, user_id=None, session=None, claims_age=None)
        answer = await there.answer(WHO_AM_I, pb.WhoAmIRequest(scope=principal()), pb.WhoAmIResponse)
        assert not any(answer.HasField(name) for name in ("user_id", "session", "claims_age"))
        there.backend.seen = replace(there.backend.seen, user_id="", claims_age=-0.25)
        answer = await there.answer(WHO_AM_I, pb.WhoAmIRequest(scope=principal()), pb.WhoAmIResponse)
        assert answer.HasField("user_id")
        assert answer.claims_age.ToNanoseconds() == -250_000_000, "Postgres' clock may be behind"


async def test_who_am_i_without_a_database() -> None:
    async with running() as there:
        there.backend.failure = UsherError(Reason.DATABASE_UNAVAILABLE, "the database is away; retry")
        refused = await there.refusal(WHO_AM_I, pb.WhoAmIRequest(scope=principal()))
        assert (refused.code, refused.reason, refused.retry_after) == (
            "UNAVAILABLE",
            "DATABASE_UNAVAILABLE",
            1.0,
        )
