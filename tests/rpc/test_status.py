"""Statuses: every reason has its code, details are complete, and all of it stays small."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from sidecar.core.errors import FieldViolation, Reason, UsherError, invalid_field
from sidecar.rpc.status import CODES, Refusal
from sidecar.services.status import DOMAIN, rich_status
from tests.rpc.running import RUN, run, running

HEADER_LIST_BYTES = 8192
ID = "0" * 32


def on_the_wire(error: UsherError) -> int:
    """Bytes of the status in HTTP/2 headers: percent-encoded message (gRPC's PROTOCOL-HTTP2) and base64."""
    refusal = Refusal(error, ID)
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in refusal.details.encode())
    return message + sum(len(key) + len(value) * 4 // 3 + 4 for key, value in refusal.trailing_metadata)


def details(error: UsherError) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {"ErrorInfo": [], "BadRequest": [], "RetryInfo": []}
    for packed in rich_status(error, ID).details:
        name = packed.TypeName().removeprefix("google.rpc.")
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        found[name].append(message)
    return found


def test_when_to_retry_is_said_as_precisely_as_it_is_known() -> None:
    (retry,) = details(UsherError(Reason.RATE_LIMITED, "slow down", retry_after=0.25))["RetryInfo"]
    assert retry.retry_delay.ToTimedelta().total_seconds() == 0.25
    (retry,) = details(UsherError(Reason.RATE_LIMITED, "slow down"))["RetryInfo"]
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.0


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_gives_a_complete_status(reason: Reason) -> None:
    error = UsherError(reason, "what happened; what to do", {"table": "users"})
    status = rich_status(error, ID)
    assert CODES[reason] is not grpc.StatusCode.OK
    assert (status.code, status.message) == (CODES[reason].value[0], "what happened; what to do")
    found = details(error)
    (info,) = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason.value, DOMAIN)
    assert dict(info.metadata) == {"table": "users", "request_id": ID}
    assert len(found["RetryInfo"]) == int(error.retryable)


def test_only_what_did_nothing_yet_may_be_retried() -> None:
    """Codes that clients retry by themselves stand for reasons that may be retried."""
    for reason in Reason:
        error = UsherError(reason, "")
        if error.retryable:
            assert CODES[reason].name in ("ABORTED", "UNAVAILABLE", "RESOURCE_EXHAUSTED")


def test_violations_become_a_bad_request() -> None:
    (bad,) = details(invalid_field("claims.exp", "leave it out", Reason.CLAIM_RESERVED))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.description) == ("claims.exp", "leave it out")
    assert violation.reason == "CLAIM_RESERVED"


def test_an_error_without_violations_has_no_bad_request() -> None:
    assert details(UsherError(Reason.KEY_UNKNOWN, "none"))["BadRequest"] == []


@pytest.mark.parametrize("char", ["x", "%", "é", "\U0001f600", "\ud800", "\n"])
def test_the_largest_status_fits_the_headers(char: str) -> None:
    error = UsherError(
        Reason.DATABASE_ERROR,
        char * 100_000,
        {f"key{number}": char * 10_000 for number in range(8)},
        [FieldViolation(f"{char * 150}[{number}]", char * 150) for number in range(1000)],
    )
    assert on_the_wire(error) < HEADER_LIST_BYTES * 0.9
    assert Refusal(error, ID).details.startswith(char if char != "\ud800" else "?")


def test_of_many_violations_the_first_are_named() -> None:
    error = UsherError(
        Reason.INVALID_FIELD, "", {}, [FieldViolation(f"f[{number}]", "x" * 100) for number in range(200)]
    )
    (bad,) = details(error)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    named = [violation.field for violation in bad.field_violations]
    assert named == [f"f[{number}]" for number in range(len(named))]
    assert len(named) >= 10


async def test_a_large_status_arrives_whole() -> None:
    async with running() as there:
        there.backend.failure = UsherError(
            Reason.DATABASE_ERROR,
            "é" * 5000,
            {"table": "t" * 5000},
            [FieldViolation(f"parameters[{number}]", "é" * 200) for number in range(100)],
        )
        refused = await there.refusal(RUN, run())
        assert (refused.code, refused.reason) == ("UNKNOWN", "DATABASE_ERROR")
        assert refused.message == "é" * 400
        assert refused.metadata["table"] == "t" * 200
        assert refused.violations


async def test_a_database_error_arrives_with_its_metadata_and_when_to_retry() -> None:
    async with running() as there:
        there.backend.failure = UsherError(
            Reason.SERIALIZATION_FAILURE, "retry the whole query", {"sqlstate": "40001"}
        )
        refused = await there.refusal(RUN, run())
        assert (refused.code, refused.reason, refused.retry_after) == (
            "ABORTED",
            "SERIALIZATION_FAILURE",
            1.0,
        )
        assert refused.metadata["sqlstate"] == "40001"
        there.backend.failure = UsherError(
            Reason.UNIQUE_VIOLATION, "exists", {"sqlstate": "23505", "constraint": "users_pkey"}
        )
        refused = await there.refusal(RUN, run())
        assert (refused.code, refused.retry_after) == ("ALREADY_EXISTS", None)
        assert refused.metadata["constraint"] == "users_pkey"
