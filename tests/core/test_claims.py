"""Claims: what may be in them, and how numbers keep their meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.claims import (
    KID_CLAIM,
    LARGEST_EXACT_INTEGER,
    MAX_DEPTH,
    MAX_PAYLOAD_BYTES,
    REGISTERED,
    Claims,
    check_subject,
    custom_claims,
    to_json,
)
from sidecar.core.errors import Reason, UsherError


def refused(raw: dict[str, object]) -> UsherError:
    with pytest.raises(UsherError) as caught:
        custom_claims(raw)
    return caught.value


def claims(**changes: object) -> Claims:
    values: dict[str, object] = {
        "issuer": "https://issuer.example",
        "subject": "alice",
        "audiences": (),
        "issued_at": 1_000,
        "expires_at": 1_300,
        "jti": "id-1",
        "custom": {"tenant_id": "acme"},
    }
    return Claims(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*REGISTERED, KID_CLAIM])
def test_registered_names_cannot_be_smuggled_in(name: str) -> None:
    error = refused({name: "anything"})
    assert error.reason is Reason.CLAIM_RESERVED
    assert error.metadata["field"] == f"claims.{name}"


@pytest.mark.parametrize("name", ["", "größe", "a\tb", 'quo"te', "back\\slash", "x" * 129, "nul\0", "名"])
def test_names_that_verifiers_could_misread_are_refused(name: str) -> None:
    error = refused({name: 1})
    assert error.reason is Reason.CLAIM_NAME_INVALID
    if name:
        assert name not in str(error)


def test_the_documented_custom_claims_pass() -> None:
    given_claims = {
        "tenant_id": "acme",
        "role": "admin",
        "permissions": ["read", "write"],
        "https://x.example/a": 1,
    }
    assert custom_claims(given_claims) == given_claims


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (7.0, "7"),
        (-7.0, "-7"),
        (0.0, "0"),
        (-0.0, "0"),
        (7.5, "7.5"),
        (float(LARGEST_EXACT_INTEGER), str(LARGEST_EXACT_INTEGER)),
        (-float(LARGEST_EXACT_INTEGER), str(-LARGEST_EXACT_INTEGER)),
        (True, "true"),
        (None, "null"),
        (1e-7, "1e-07"),
    ],
)
def test_numbers_come_back_as_a_json_reader_expects(sent: object, kept: str) -> None:
    assert to_json(custom_claims({"n": sent})) == f'{{"n":{kept}}}'.encode()


@pytest.mark.parametrize(
    "number",
    [
        2.0**53,
        -(2.0**53),
        2.0**53 + 2,
        -(2.0**60),
        1e300,
        float("nan"),
        float("inf"),
        float("-inf"),
        2**53 + 1,
    ],
)
def test_numbers_that_would_be_rounded_are_refused(number: float) -> None:
    assert refused({"n": number}).reason is Reason.CLAIM_NOT_EXACT
    assert refused({"outer": {"n": [number]}}).reason is Reason.CLAIM_NOT_EXACT


def nested(levels: int) -> object:
    value: object = "leaf"
    for _ in range(levels):
        value = {"a": value}
    return value


def test_depth_is_capped() -> None:
    deepest = nested(MAX_DEPTH - 1)
    assert custom_claims({"a": deepest}) == {"a": deepest}
    assert refused({"a": nested(MAX_DEPTH)}).reason is Reason.CLAIMS_TOO_DEEP
    lists: object = "leaf"
    for _ in range(MAX_DEPTH):
        lists = [lists]
    assert refused({"a": lists}).reason is Reason.CLAIMS_TOO_DEEP


def test_size_is_capped_with_the_figure_in_the_message() -> None:
    claims(custom={"fits": "x" * (MAX_PAYLOAD_BYTES - 300)}).check_size()
    with pytest.raises(UsherError) as caught:
        claims(custom={"big": "x" * MAX_PAYLOAD_BYTES}).check_size()
    assert caught.value.reason is Reason.CLAIMS_TOO_LARGE
    assert str(MAX_PAYLOAD_BYTES) in caught.value.message


@pytest.mark.parametrize("value", ["nul\0", ["nul\0"], {"k": "nul\0"}, {"nul\0": 1}])
def test_nul_is_refused_because_postgres_cannot_store_it(value: object) -> None:
    assert refused({"a": value}).reason is Reason.INVALID_FIELD


def test_sid_must_be_text_or_null() -> None:
    for value in (7, True, ["7"], {}):
        assert refused({"sid": value}).reason is Reason.INVALID_FIELD
    for allowed in ("7", None):
        assert custom_claims({"sid": allowed}) == {"sid": allowed}


@pytest.mark.parametrize("subject", ["", "   ", "x" * 256, "a\0b"])
def test_subjects_that_cannot_be(subject: str) -> None:
    with pytest.raises(UsherError) as caught:
        check_subject(subject, "scope.principal.subject")
    assert caught.value.violations[0].field == "scope.principal.subject"


def test_payload_has_integer_times_and_the_forms_of_aud() -> None:
    payload = claims().payload
    assert payload == {
        "iss": "https://issuer.example",
        "sub": "alice",
        "iat": 1_000,
        "nbf": 1_000,
        "exp": 1_300,
        "jti": "id-1",
        "tenant_id": "acme",
    }
    assert claims(audiences=("a",)).payload["aud"] == "a"
    assert claims(audiences=("a", "b")).payload["aud"] == ["a", "b"]


names = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), min_size=1, max_size=20
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(-LARGEST_EXACT_INTEGER, LARGEST_EXACT_INTEGER) | st.floats(
    allow_nan=False, allow_infinity=False
).filter(lambda number: abs(number) <= LARGEST_EXACT_INTEGER or not number.is_integer())
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,  # so never deeper than MAX_DEPTH
)


@given(
    st.dictionaries(
        names.filter(lambda name: name not in (*REGISTERED, KID_CLAIM, "sid")), json_values, max_size=4
    )
)
def test_what_is_admitted_reads_back_equal(raw: dict[str, object]) -> None:
    assert json.loads(to_json(custom_claims(raw))) == raw
