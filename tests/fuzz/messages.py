"""Fuzzes the way of a request from bytes to core values, and of values back into a response."""

from __future__ import annotations

import math
import sys
from typing import Any, Final

from google.protobuf.message import Message
from usher.v1 import key_service_pb2, query_service_pb2, revocation_service_pb2, token_service_pb2, values_pb2

from tests.fuzz import engine

with engine.instrumented():
    from sidecar.core.claims import custom_claims, to_json
    from sidecar.core.errors import Reason, UsherError
    from sidecar.core.values import Column, Kind
    from sidecar.services.contract import request_parser
    from sidecar.services.convert import seconds, struct_to_dict
    from sidecar.services.convert_values import column_data, parameter

REQUESTS: Final[tuple[type[Message], ...]] = (
    query_service_pb2.RunScopedQueryRequest,
    query_service_pb2.WhoAmIRequest,
    token_service_pb2.IssueTokenRequest,
    token_service_pb2.VerifyTokenRequest,
    key_service_pb2.RotateKeysRequest,
    key_service_pb2.RevokeKeyRequest,
    revocation_service_pb2.RevokeTokensRequest,
    revocation_service_pb2.LiftRevocationRequest,
)
"""The first byte of an input says which of them the rest is."""
PARSERS: Final = [request_parser(request) for request in REQUESTS]
REFUSALS: Final = {
    *(Reason.MALFORMED_REQUEST, Reason.INVALID_FIELD, Reason.PARAMETER_TYPE, Reason.CLAIM_RESERVED),
    *(Reason.CLAIM_NAME_INVALID, Reason.CLAIM_NOT_EXACT, Reason.CLAIMS_TOO_DEEP, Reason.CLAIMS_TOO_LARGE),
}
_LISTS: Final = {
    Kind.BOOL: "bools",
    Kind.INT: "ints",
    Kind.TEXT: "texts",
    Kind.BYTES: "blobs",
    Kind.NUMERIC: "texts",
    Kind.DATE: "dates",
    Kind.TIME: "times",
    Kind.UUID: "blobs",
    Kind.JSON: "texts",
}


def _seeds() -> tuple[bytes, ...]:
    values = [
        values_pb2.Value(bool_value=True),
        values_pb2.Value(int_value=-(2**63)),
        values_pb2.Value(float_value=math.nan),
        values_pb2.Value(text_value="é\U0001f600"),
        values_pb2.Value(bytes_value=b"\0\xff"),
        values_pb2.Value(numeric_value="1e-20"),
        values_pb2.Value(date_value=-(2**31)),
        values_pb2.Value(time_value=86_400_000_000),
        values_pb2.Value(timestamp_value=values_pb2.Timestamp(seconds=-1, micros=999_999)),
        values_pb2.Value(interval_value=values_pb2.Interval(months=1, days=-1, micros=1)),
        values_pb2.Value(uuid_value=b"u" * 16),
        values_pb2.Value(json_value='{"a":1}'),
        values_pb2.Value(array_value=values_pb2.ArrayValue(elements=[values_pb2.Value(int_value=1)] * 3)),
        values_pb2.Value(),
    ]
    scope = query_service_pb2.Scope(principal=query_service_pb2.Principal(subject="alice"))
    scope.principal.claims.update({"tenant_id": "acme", "list": [1, None, {"a": 2.5}], "flag": True})
    options = query_service_pb2.QueryOptions(read_only=True, max_rows=7)
    options.statement_timeout.FromMilliseconds(1500)
    run = query_service_pb2.RunScopedQueryRequest(
        scope=scope, sql="select $1", parameters=values, options=options
    )
    issue = token_service_pb2.IssueTokenRequest(subject="alice", audiences=["a", "b"], validate_only=True)
    issue.claims.CopyFrom(scope.principal.claims)
    issue.ttl.FromSeconds(60)
    revoked = revocation_service_pb2.Revoked(sub="alice")
    requests: list[Message] = [
        run,
        query_service_pb2.WhoAmIRequest(scope=query_service_pb2.Scope(token="a.b.c")),
        issue,
        token_service_pb2.VerifyTokenRequest(token="a.b.c", audience="a"),
        key_service_pb2.RotateKeysRequest(force=True),
        key_service_pb2.RevokeKeyRequest(kid="k" * 43),
        revocation_service_pb2.RevokeTokensRequest(revoked=revoked, existing_tokens_only=True),
        revocation_service_pb2.LiftRevocationRequest(revoked=revoked),
    ]
    each = [query_service_pb2.RunScopedQueryRequest(scope=scope, sql="x", parameters=[one]) for one in values]
    return (
        *(bytes([at]) + request.SerializeToString() for at, request in enumerate(requests)),
        *(b"\0" + request.SerializeToString() for request in each),
        b"\0",
        b"\1\xff\xff",
    )


SEEDS: Final = _seeds()


def one(data: bytes) -> None:
    """Bytes become a request or a refusal, and what was converted converts back."""
    which = data[0] % len(REQUESTS) if data else 0
    try:
        request: Any = PARSERS[which](data[1:])
        _read(which, request)
    except UsherError as error:
        if error.reason not in REFUSALS:
            raise AssertionError(error.reason) from error


def _read(which: int, request: Any) -> None:
    """What the services do with a request first."""
    if which == 0:
        _read_query(request)
    elif which == 2:
        _check_claims(request.claims)
        if request.HasField("ttl"):
            assert math.isfinite(seconds(request.ttl))
    if which in (0, 1) and request.scope.WhichOneof("scope") == "principal":
        _check_claims(request.scope.principal.claims)


def _read_query(request: Any) -> None:
    if request.options.HasField("statement_timeout"):
        assert math.isfinite(seconds(request.options.statement_timeout))
    for index, value in enumerate(request.parameters):
        read = parameter(value, f"parameters[{index}]")
        if name := _LISTS.get(read.kind):
            column = Column(name="a", type_name="a", type_oid=1, kind=read.kind)
            data = column_data(column, [read.value, None, read.value])
            again = values_pb2.ColumnData.FromString(data.SerializeToString())
            assert list(getattr(again, name))[::2] == [read.value] * 2
            assert again.nulls == b"\2"


def _check_claims(struct: Any) -> None:
    """Claims that pass are JSON that Postgres can read: no NUL, and nothing but ASCII."""
    checked = custom_claims(struct_to_dict(struct))
    assert b"\\u0000" not in to_json(checked).replace(b"\\\\", b"")


if __name__ == "__main__":
    sys.exit(engine.main(one, SEEDS))
