"""Calls over real sockets, in JSON and protobuf: answers, errors, deadlines and sizes."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from usher.v1 import query_service_pb2, token_service_pb2

from sidecar.connect.errors import HTTP_STATUS
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import RpcFault, RpcFinished
from sidecar.core.transactions import Isolation
from sidecar.services.status import CODES
from tests.connect.running import running
from tests.rpc.running import ISSUE, PATIENCE, RUN, TRANSACT, VERIFY, WHO_AM_I, issue, run

QUERY = {
    "sql": "select 1",
    "scope": {"principal": {"subject": "alice", "claims": {"tenant": "acme", "n": 3}}},
}


async def test_a_query_in_json_is_run_as_its_subject_and_answered_in_json() -> None:
    async with running() as there:
        answer = await there.call(RUN, QUERY)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["rowCount"] == 3
        (scope,) = there.parts.backend.scopes
        assert (scope.subject, scope.custom) == ("alice", {"tenant": "acme", "n": 3})
        (event,) = there.parts.seen.of(RpcFinished)
        assert (event.method, event.code) == ("RunScopedQuery", "OK")


async def test_a_query_in_protobuf_is_answered_as_grpc_answers_it() -> None:
    async with running() as there:
        answer = await there.call(RUN, run())
        assert (answer.status, answer.headers["content-type"]) == (200, "application/proto")
        assert query_service_pb2.RunScopedQueryResponse.FromString(answer.body).row_count == 3


async def test_a_transaction_in_json_is_run_and_answered_in_json() -> None:
    async with running() as there:
        asked = {
            "scope": QUERY["scope"],
            "statements": [{"sql": "select 1"}, {"sql": "select $1", "parameters": [{"intValue": "7"}]}],
            "options": {"isolationLevel": "ISOLATION_LEVEL_SERIALIZABLE", "readOnly": True},
        }
        answer = await there.call(TRANSACT, asked)
        assert [result["rowCount"] for result in answer.json["results"]] == [3, 3]
        assert there.parts.backend.isolation is Isolation.SERIALIZABLE
        assert [one.read_only for one in there.parts.backend.statements] == [True, True]


async def test_a_token_that_is_issued_is_verified_on_the_same_connection() -> None:
    async with running() as there:
        client = await there.client()
        issued = await client.call(ISSUE, {"subject": "alice", "ttl": "60s", "claims": {"role": "x"}})
        token = issued.json["token"]
        verified = await client.call(VERIFY, token_service_pb2.VerifyTokenRequest(token=token))
        assert token_service_pb2.VerifyTokenResponse.FromString(verified.body).subject == "alice"
        assert not verified.closed


@pytest.mark.parametrize("reason", Reason)
async def test_every_reason_has_the_code_and_status_of_the_protocol(reason: Reason) -> None:
    async with running() as there:
        there.parts.backend.failure = UsherError(reason, "what happened", {"field": "sql"}, retry_after=2.5)
        answer = await there.call(RUN, QUERY, x_request_id="abc-1")
        code = CODES[reason]
        assert answer.status == HTTP_STATUS[code]
        assert answer.json["code"] == code.name.lower()
        assert answer.json["message"] == "what happened"
        assert answer.reason == reason.value
        assert answer.json["details"][0]["debug"]["metadata"] == {"field": "sql", "request_id": "abc-1"}
        retryable = there.parts.backend.failure.retryable
        assert answer.headers.get("retry-after") == ("3" if retryable else None)
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)


async def test_violations_name_the_fields() -> None:
    async with running() as there:
        answer = await there.call(ISSUE, {"subject": ""})
        assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
        (bad,) = (d["debug"] for d in answer.json["details"] if d["type"] == "google.rpc.BadRequest")
        assert bad["fieldViolations"][0]["field"] == "subject"


async def test_a_fault_of_ours_says_nothing_of_itself() -> None:
    async with running() as there:
        there.parts.backend.failure = RuntimeError("a secret")
        answer = await there.call(RUN, QUERY)
        assert (answer.status, answer.reason) == (500, "INTERNAL")
        assert b"secret" not in answer.body
        assert len(there.parts.seen.of(RpcFault)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"subject": 3}',
        b'{"subject": "alice", "subject": "bob"}',
        b'{"subject": "alice", "claims": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b'{"subject": "alice", "ttl": "9999999999999999999s"}',
        b'{"subject": "alice", "claims": {"n": ' + b"9" * 5000 + b"}}",
    ],
)
async def test_what_is_no_request_in_json_is_malformed(body: bytes) -> None:
    async with running() as there:
        answer = await there.call(ISSUE, body)
        assert answer.status == 400
        assert answer.json["code"] == "invalid_argument"
        assert there.parts.seen.of(RpcFault) == []


async def test_a_misspelt_option_is_refused_and_its_value_not_repeated() -> None:
    async with running() as there:
        answer = await there.call(RUN, {**QUERY, "options": {"readonly_": "hunter2"}})
        assert (answer.status, answer.reason) == (400, "MALFORMED_REQUEST")
        assert b"hunter2" not in answer.body
        assert there.parts.backend.statements == []


async def test_bytes_that_are_no_protobuf_are_malformed() -> None:
    async with running() as there:
        answer = await there.call(ISSUE, b"\xff", content_type="application/proto")
        assert (answer.status, answer.reason) == (400, "MALFORMED_REQUEST")


async def test_a_deadline_cancels_the_statement() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        answer = await there.call(RUN, QUERY, connect_timeout_ms="50")
        assert (answer.status, answer.reason) == (504, "DEADLINE_EXCEEDED")
        await asyncio.wait_for(there.parts.backend.cancelled.wait(), PATIENCE)


async def test_the_default_deadline_holds_without_a_timeout() -> None:
    async with running(default_deadline=0.05) as there:
        there.parts.backend.released.clear()
        assert (await there.call(RUN, QUERY)).reason == "DEADLINE_EXCEEDED"


async def test_a_client_that_leaves_cancels_its_statement() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        client = await there.client()
        await client.send(
            f"/{RUN}", json.dumps(QUERY).encode(), headers=[("content-type", "application/json")]
        )
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        client.writer.close()
        await asyncio.wait_for(there.parts.backend.cancelled.wait(), PATIENCE)
        await asyncio.wait_for(there.calls.until_idle(PATIENCE), PATIENCE)
        (event,) = there.parts.seen.of(RpcFinished)
        assert event.code == "CANCELLED"


@pytest.mark.parametrize("value", ["-1", "1.5", "abc", "12345678901", "1e3"])
async def test_a_timeout_that_is_none_is_refused(value: str) -> None:
    async with running() as there:
        answer = await there.call(RUN, QUERY, connect_timeout_ms=value)
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
        assert there.parts.backend.statements == []


async def test_a_request_that_is_too_large_is_refused_as_by_grpc_and_not_read() -> None:
    async with running() as there:
        answer = await there.call(ISSUE, {"subject": "a" * 200_000})
        assert (answer.status, answer.reason, answer.closed) == (400, "INVALID_FIELD", True)


async def test_whoever_is_not_known_is_not_told_that_a_request_is_too_large() -> None:
    async with running(max_message_bytes=64 * 1024) as there:
        there.calls.refuse_new()
        answer = await there.call(RUN, {**QUERY, "sql": "x" * 100_000})
        assert answer.reason == "SHUTTING_DOWN"


async def test_draining_refuses_new_calls_and_says_when_to_come_again() -> None:
    async with running() as there:
        there.calls.refuse_new()
        answer = await there.call(WHO_AM_I, {"scope": QUERY["scope"]})
        assert (answer.status, answer.reason) == (503, "SHUTTING_DOWN")
        assert answer.headers["retry-after"] == "1"


async def test_bytes_and_64_bit_numbers_are_as_json_has_them() -> None:
    async with running() as there:
        value = {"bytesValue": base64.b64encode(b"\x00\xff").decode()}
        answer = await there.call(RUN, {**QUERY, "parameters": [value, {"intValue": "9007199254740993"}]})
        assert answer.status == 200
        (statement,) = there.parts.backend.statements
        assert [parameter.value for parameter in statement.parameters] == [b"\x00\xff", 9007199254740993]


async def test_many_calls_on_one_connection() -> None:
    async with running() as there:
        client = await there.client()
        for _ in range(50):
            assert (await client.call(ISSUE, issue())).status == 200
