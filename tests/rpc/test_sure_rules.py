"""The quick look at requests: it is never surer than protovalidate, and sure of what is usual."""

from __future__ import annotations

import itertools
from typing import Any

import protovalidate
import pytest
from google.protobuf import message_factory
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from usher.v1 import query_service_pb2 as query
from usher.v1 import token_service_pb2 as token
from usher.v1 import values_pb2

from sidecar.services import contract
from sidecar.services.sure_rules import LOOKS, not_sure
from tests.rpc.running import issue, run

TEXTS = st.one_of(
    st.text(max_size=4),
    st.sampled_from([63, 64, 255, 256, 16_384, 16_385]).map(lambda length: "ü" * length),
)
CLAIMS = st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.booleans()), max_size=2)
SECONDS = (-(2**63), -1, 0, 1, 315_576_000_000, 315_576_000_001, 2**63 - 1)
NANOS = (-(2**31), -1, 0, 1, 999_999, 1_000_000, 999_999_999, 1_000_000_000, 2**31 - 1)
DURATIONS = st.builds(Duration, seconds=st.sampled_from(SECONDS), nanos=st.sampled_from(NANOS))
SCOPES = st.one_of(
    st.builds(query.Scope),
    st.builds(query.Scope, token=TEXTS),
    st.builds(query.Scope, principal=st.builds(query.Principal, subject=TEXTS, claims=CLAIMS)),
)
VALUES = st.one_of(
    st.builds(values_pb2.Value),
    st.builds(values_pb2.Value, text_value=TEXTS),
    st.builds(values_pb2.Value, uuid_value=st.binary(min_size=15, max_size=17)),
    st.builds(
        values_pb2.Value,
        timestamp_value=st.builds(values_pb2.Timestamp, micros=st.sampled_from([0, 999_999, 1_000_000])),
    ),
    st.builds(
        values_pb2.Value,
        array_value=st.builds(
            values_pb2.ArrayValue,
            elements=st.lists(st.builds(values_pb2.Value, uuid_value=st.just(b"")), max_size=1),
        ),
    ),
)
REQUESTS = {
    "usher.v1.IssueTokenRequest": st.builds(
        token.IssueTokenRequest,
        subject=TEXTS,
        audiences=st.lists(TEXTS, max_size=3),
        claims=CLAIMS,
        ttl=st.one_of(st.none(), DURATIONS),
    ),
    "usher.v1.VerifyTokenRequest": st.builds(token.VerifyTokenRequest, token=TEXTS, audience=TEXTS),
    "usher.v1.RunScopedQueryRequest": st.builds(
        query.RunScopedQueryRequest,
        scope=st.one_of(st.none(), SCOPES),
        sql=TEXTS,
        parameters=st.lists(VALUES, max_size=3),
        options=st.one_of(
            st.none(),
            st.builds(query.QueryOptions, statement_timeout=st.one_of(st.none(), DURATIONS)),
        ),
        statement=TEXTS,
    ),
}

AS_WRITTEN = {
    "usher.v1.IssueTokenRequest": {
        "subject": "string { min_len: 1 max_len: 255 }",
        "audiences": "repeated { max_items: 16 unique: true items { string { min_len: 1 max_len: 255 } } }",
    },
    "usher.v1.VerifyTokenRequest": {
        "token": "string { min_len: 1 max_len: 16384 }",
        "audience": "string { max_len: 255 }",
    },
    "usher.v1.RunScopedQueryRequest": {
        "scope": "required: true",
        "scope.scope": "required: true",
        "scope.principal.subject": "string { min_len: 1 max_len: 255 }",
        "scope.token": "string { min_len: 1 max_len: 16384 }",
        "parameters": "repeated { max_items: 65535 }",
        "parameters.array_value.elements": "repeated { max_items: 65535 }",
        "parameters.timestamp_value.micros": "uint32 { lt: 1000000 }",
        "parameters.uuid_value": "bytes { len: 16 }",
        "options.statement_timeout": "duration { gte { nanos: 1000000 } }",
        "statement": "string { max_len: 63 }",
    },
}
"""The rules that the looks know."""


def ruled(message: Any) -> Any:
    """The same message as the server has it, with its rules."""
    return contract._ruled(type(message)).FromString(message.SerializeToString())


@pytest.mark.parametrize("name", LOOKS)
@given(data=st.data())
def test_what_is_sure_breaks_no_rule(name: str, data: st.DataObject) -> None:
    message = ruled(data.draw(REQUESTS[name]))
    if LOOKS[name](message):
        assert protovalidate.collect_violations(message) == []


def test_of_no_timeout_that_breaks_a_rule_it_is_sure() -> None:
    for seconds, nanos in itertools.product(SECONDS, NANOS):
        timeout = Duration(seconds=seconds, nanos=nanos)
        message = ruled(run(statement_timeout=timeout))
        if LOOKS[message.DESCRIPTOR.full_name](message):
            assert protovalidate.collect_violations(message) == []


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_knows_every_rule_that_there_is(name: str) -> None:
    """Whoever changes a rule of these messages changes sidecar/services/sure_rules.py, and then this."""
    assert rules_of(contract._pool().FindMessageTypeByName(name)) == AS_WRITTEN[name]


def rules_of(descriptor: Any, path: str = "", above: tuple[str, ...] = ()) -> dict[str, str]:
    """Every rule of a type and of those in it, by its place."""
    found = {path: rules_text(descriptor, "MessageOptions", "message")}
    for oneof in descriptor.oneofs:
        found[f"{path}{oneof.name}"] = rules_text(oneof, "OneofOptions", "oneof")
    for field in descriptor.fields:
        place = f"{path}{field.name}"
        found[place] = rules_text(field, "FieldOptions", "field") or found.get(place, "")
        inner = field.message_type
        if inner is not None and inner.full_name not in above:
            found |= rules_of(inner, f"{place}.", (*above, descriptor.full_name))
    return {place: text for place, text in found.items() if text}


def rules_text(described: Any, options: str, extension: str) -> str:
    pool = contract._pool()
    known: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.protobuf.{options}"))
    said = known.FromString(described.GetOptions().SerializeToString())
    return " ".join(str(said.Extensions[pool.FindExtensionByName(f"buf.validate.{extension}")]).split())


@pytest.mark.parametrize(
    "message",
    [
        issue(tenant_id="acme"),
        issue(audiences=["a"]),
        token.VerifyTokenRequest(token="a.b.c"),
        run("SELECT $1, $2", values_pb2.Value(int_value=7), values_pb2.Value(text_value="a")),
        query.RunScopedQueryRequest(
            scope=query.Scope(token="a.b.c"),
            statement="items",
            options=query.QueryOptions(statement_timeout=Duration(seconds=1)),
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_usual_requests_are_sure(message: Any) -> None:
    assert LOOKS[message.DESCRIPTOR.full_name](ruled(message))


def test_a_message_without_a_look_is_never_sure() -> None:
    assert not not_sure(ruled(query.WhoAmIRequest(scope=query.Scope(token="a.b.c"))))
