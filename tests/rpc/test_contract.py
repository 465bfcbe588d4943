"""From bytes to checked requests: what is malformed, and what breaks a rule of the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from usher.v1 import key_service_pb2, query_service_pb2, revocation_service_pb2, token_service_pb2, values_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.services import contract
from sidecar.services.contract import request_parser
from tests.rpc.running import ISSUE, RUN, issue, principal, run, running

REQUESTS = (
    token_service_pb2.IssueTokenRequest,
    token_service_pb2.VerifyTokenRequest,
    query_service_pb2.RunScopedQueryRequest,
    query_service_pb2.StreamScopedQueryRequest,
    query_service_pb2.WhoAmIRequest,
    key_service_pb2.ListKeysRequest,
    key_service_pb2.RotateKeysRequest,
    key_service_pb2.RevokeKeyRequest,
    revocation_service_pb2.RevokeTokensRequest,
    revocation_service_pb2.ListRevocationsRequest,
    revocation_service_pb2.LiftRevocationRequest,
)
PARSERS: dict[Any, Callable[[bytes], Any]] = {request: request_parser(request) for request in REQUESTS}

parse_issue = PARSERS[token_service_pb2.IssueTokenRequest]
parse_run = PARSERS[query_service_pb2.RunScopedQueryRequest]

# Not a tag; text that is not UTF-8; a length beyond the end; a group that never ends.
MALFORMED = [b"\xff", b"\x0a\x02\xff\xfe", b"\x0a\x05ab", b"\x0b"]


def reason(parse: Callable[[bytes], Any], raw: bytes) -> Reason | None:
    try:
        parse(raw)
    except UsherError as error:
        return error.reason
    return None


def violations(message: Message) -> dict[str, str]:
    with pytest.raises(UsherError) as caught:
        PARSERS[type(message)](message.SerializeToString())
    assert caught.value.reason is Reason.INVALID_FIELD
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize("request_class", REQUESTS, ids=lambda request: request.__name__)
def test_requests_have_the_fields_of_the_published_stubs(request_class: Any) -> None:
    """contract.binpb and clients/python come from one `make proto`; a stale one shows here."""
    parser = request_parser(request_class)
    try:
        parsed = parser(b"")
    except UsherError:
        return  # an empty one breaks a rule: its fields are seen by the tests of those rules
    fields = {field.name: field.number for field in parsed.DESCRIPTOR.fields}
    assert fields == {field.name: field.number for field in request_class.DESCRIPTOR.fields}


def test_a_checked_request_says_what_was_sent() -> None:
    sent = issue("alice", audiences=["a", "b"], tenant_id="acme", level=7)
    sent.ttl.seconds = 60
    assert parse_issue(sent.SerializeToString()).SerializeToString(deterministic=True) == (
        sent.SerializeToString(deterministic=True)
    )


def test_fields_of_a_newer_contract_are_ignored() -> None:
    unknown = b"\xfa\x3e\x03new"  # field 1007, text
    assert parse_issue(issue().SerializeToString() + unknown).subject == "alice"


@pytest.mark.parametrize("raw", MALFORMED)
def test_bytes_that_are_no_message(raw: bytes) -> None:
    with pytest.raises(UsherError) as caught:
        parse_issue(raw)
    assert caught.value.reason is Reason.MALFORMED_REQUEST
    assert "usher.v1.IssueTokenRequest" in caught.value.message


@given(st.binary(max_size=200))
def test_no_bytes_are_a_fault(raw: bytes) -> None:
    for parser in PARSERS.values():
        assert reason(parser, raw) in (None, Reason.MALFORMED_REQUEST, Reason.INVALID_FIELD)


@pytest.mark.parametrize(
    ("levels", "end"),
    [(32, None), (100, Reason.MALFORMED_REQUEST), (50_000, Reason.MALFORMED_REQUEST)],
)
def test_depth_is_bounded(levels: int, end: Reason | None) -> None:
    """Deep nesting is passed on to the rule on claims, or refused by the decoder; it never overflows."""
    value = b"\x08\x00"
    for _ in range(levels):
        value = delimited(0x32, delimited(0x0A, value))
    raw = delimited(0x0A, b"alice") + delimited(0x1A, delimited(0x0A, delimited(0x12, value)))
    assert reason(parse_issue, raw) is end


def delimited(tag: int, content: bytes) -> bytes:
    """A length-delimited field of the wire format."""
    length, octets = len(content), bytearray([tag])
    while length >= 0x80:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(octets) + bytes([length]) + content


async def test_malformed_bytes_are_answered_with_details() -> None:
    async with running() as there:
        for method in (ISSUE, RUN):
            refused = await there.refusal(method, b"\xff\xff", x_request_id="r1")
            assert (refused.code, refused.reason, refused.domain) == (
                "INVALID_ARGUMENT",
                "MALFORMED_REQUEST",
                "usher",
            )
            assert refused.metadata == {"request_id": "r1"}


async def test_every_violation_is_named_by_its_path() -> None:
    async with running() as there:
        refused = await there.refusal(ISSUE, issue("", audiences=["a", "", "a"]))
        assert refused.reason == "INVALID_FIELD"
        assert set(refused.violations) == {"subject", "audiences", "audiences[1]"}
        assert refused.metadata["field"] in refused.violations


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (issue(""), "subject"),
        (issue("x" * 256), "subject"),
        (issue(audiences=[str(number) for number in range(17)]), "audiences"),
        (issue(audiences=["a", "b", "x" * 256]), "audiences[2]"),
        (token_service_pb2.VerifyTokenRequest(), "token"),
        (token_service_pb2.VerifyTokenRequest(token="x" * 16_385), "token"),
        (token_service_pb2.VerifyTokenRequest(token="x", audience="x" * 256), "audience"),
        (query_service_pb2.RunScopedQueryRequest(sql="select 1"), "scope"),
        (query_service_pb2.WhoAmIRequest(), "scope"),
        (query_service_pb2.WhoAmIRequest(scope=principal("")), "scope.principal.subject"),
        (query_service_pb2.WhoAmIRequest(scope=query_service_pb2.Scope(token="")), "scope.token"),
        (query_service_pb2.WhoAmIRequest(scope=query_service_pb2.Scope()), "scope.scope"),
        (run("select 1", values_pb2.Value(), values_pb2.Value(uuid_value=b"x")), "parameters[1].uuid_value"),
        (
            run(
                "select 1",
                values_pb2.Value(timestamp_value=values_pb2.Timestamp(seconds=0, micros=1_000_000)),
            ),
            "parameters[0].timestamp_value.micros",
        ),
        (
            run(
                "select 1",
                values_pb2.Value(
                    array_value=values_pb2.ArrayValue(elements=[values_pb2.Value(uuid_value=b"")])
                ),
            ),
            "parameters[0].array_value.elements[0].uuid_value",
        ),
        (run(statement_timeout=Duration()), "options.statement_timeout"),
        (run(statement_timeout=Duration(nanos=999_999)), "options.statement_timeout"),
        (run(statement_timeout=Duration(seconds=-(2**63), nanos=-(2**31))), "options.statement_timeout"),
        (key_service_pb2.RevokeKeyRequest(), "kid"),
        (key_service_pb2.RevokeKeyRequest(kid="x" * 65), "kid"),
        (revocation_service_pb2.RevokeTokensRequest(), "revoked"),
        (revocation_service_pb2.RevokeTokensRequest(revoked={}), "revoked.by"),
        (revocation_service_pb2.RevokeTokensRequest(revoked={"jti": ""}), "revoked.jti"),
        (revocation_service_pb2.RevokeTokensRequest(revoked={"sub": "x" * 256}), "revoked.sub"),
        (
            revocation_service_pb2.RevokeTokensRequest(revoked={"kid": "k"}, duration={"seconds": 0}),
            "duration",
        ),
        (
            revocation_service_pb2.RevokeTokensRequest(revoked={"kid": "k"}, duration={"seconds": 2592001}),
            "duration",
        ),
        (revocation_service_pb2.LiftRevocationRequest(), "revoked"),
        (revocation_service_pb2.ListRevocationsRequest(max_entries=-1), "max_entries"),
        (revocation_service_pb2.ListRevocationsRequest(max_entries=10001), "max_entries"),
    ],
)
def test_rules_of_the_contract(message: Message, field: str) -> None:
    found = violations(message)
    assert list(found) == [field]
    assert found[field]


def test_limits_themselves_are_allowed() -> None:
    parse_issue(issue("é" * 255, audiences=[str(number) for number in range(16)]).SerializeToString())
    parse_run(run(statement_timeout=Duration(nanos=1_000_000)).SerializeToString())
    parse_run(run(statement_timeout=Duration(seconds=2**63 - 1, nanos=2**31 - 1)).SerializeToString())


def test_very_many_violations_stay_a_short_error() -> None:
    with pytest.raises(UsherError) as caught:
        parse_run(run("select 1", *[values_pb2.Value(uuid_value=b"x")] * 5000).SerializeToString())
    assert len(caught.value.violations) == 20
    assert len(caught.value.message) < 400


def test_a_violation_never_repeats_a_value() -> None:
    with pytest.raises(UsherError) as caught:
        parse_run(run("select 1", values_pb2.Value(uuid_value=b"hunter2")).SerializeToString())
    assert "hunter2" not in repr(caught.value)
    assert b"hunter2".hex() not in repr(caught.value)


def test_checking_a_usual_request_takes_no_time_that_counts() -> None:
    """Some 30 microseconds on a machine of 2026; the bound is for one that is slow and busy."""
    raw = issue(tenant_id="acme", role="editor", permissions=["read", "write"]).SerializeToString()
    best = min(_seconds(parse_issue, raw) for _ in range(50))
    assert best < 0.002


def _seconds(parse: Callable[[bytes], Any], raw: bytes) -> float:
    started = time.perf_counter()
    parse(raw)
    return time.perf_counter() - started


class Forbidden:
    """In the validator's place: it must not be asked."""

    def __call__(self, message: Message) -> list[Any]:
        raise AssertionError("the rules were asked")


@pytest.mark.parametrize(
    ("parse", "message", "field", "reason"),
    [
        (
            parse_issue,
            token_service_pb2.IssueTokenRequest(subject="a", audiences=[""] * 1100),
            "audiences",
            Reason.INVALID_FIELD,
        ),
        (
            parse_run,
            query_service_pb2.RunScopedQueryRequest(parameters=[values_pb2.Value()] * 65_536),
            "parameters",
            Reason.INVALID_FIELD,
        ),
        (
            parse_run,
            query_service_pb2.RunScopedQueryRequest(
                parameters=[
                    values_pb2.Value(
                        array_value=values_pb2.ArrayValue(elements=[values_pb2.Value()] * 40_000)
                    )
                ]
                * 2
            ),
            "parameters.array_value.elements",
            Reason.INVALID_FIELD,
        ),
        (
            parse_issue,
            issue(big="x" * 70_000),
            "claims",
            Reason.CLAIMS_TOO_LARGE,
        ),
    ],
)
def test_a_request_with_too_much_in_it_is_refused_before_its_rules_are_asked(
    monkeypatch: pytest.MonkeyPatch,
    parse: Callable[[bytes], Any],
    message: Message,
    field: str,
    reason: Reason,
) -> None:
    """The rules look at every element, on the event loop: two million of them take most of a minute."""
    monkeypatch.setattr(contract.protovalidate, "collect_violations", Forbidden())
    with pytest.raises(UsherError) as caught:
        parse(message.SerializeToString())
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_a_request_beyond_its_bytes_is_not_even_parsed() -> None:
    with pytest.raises(UsherError) as caught:
        request_parser(token_service_pb2.VerifyTokenRequest, 100)(b"\xff" * 101)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert "the limit is 100" in caught.value.message
