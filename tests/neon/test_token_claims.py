"""What a token must look like, and when its claims hold."""

from __future__ import annotations

from typing import Any

import pytest

from tests.neon import refusals
from tests.neon.making import ec_key, encoded, token
from tests.neon.refusals import RefusedError
from tests.neon.token_claims import check_claims, check_names, read_token

KEY = ec_key()
NOW = 1_900_000_000


def read(claims: Any, **header: Any) -> str | None:
    try:
        read_token(token(KEY, "k", claims, **header))
    except RefusedError as error:
        return error.text
    return None


def held(claims: dict[str, Any], now: float = NOW, audience: str | None = None) -> str | None:
    try:
        check_claims(claims, now, audience)
    except RefusedError as error:
        return error.text
    return None


HEADER, PAYLOAD = encoded('{"alg":"ES256","kid":"k"}'), encoded("{}")
OTHER_ALG, OTHER_KID = encoded('{"alg":"XX256","kid":"k"}'), encoded('{"alg":"ES256","kid":1}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one",
        f"{HEADER}.{PAYLOAD}",
        f"{HEADER}.{PAYLOAD}.AAAA.AAAA.AAAA",
        f"{HEADER}=.{PAYLOAD}.AAAA",
        f"{HEADER}.{PAYLOAD}.AA=",
        f"{HEADER}.{encoded('[]')}.AAAA",
        f"{HEADER}.{encoded('{')}.AAAA",
        f"{encoded('{}')}.{PAYLOAD}.AAAA",
        f"{OTHER_ALG}.{PAYLOAD}.AAAA",
        f"{OTHER_KID}.{PAYLOAD}.AAAA",
        f"{HEADER}.{encoded('[' * 100_000)}.AAAA",
    ],
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read_token(text)
    assert caught.value.text == refusals.ENCODING


def test_a_token_needs_a_key_id() -> None:
    with pytest.raises(RefusedError) as caught:
        read_token(token(KEY, None))
    assert caught.value.text == refusals.MISSING_KEY_ID


def test_other_members_of_the_header_are_ignored_critical_ones_too() -> None:
    assert read({}, crit=["exp"], jku="https://elsewhere.example", typ="other") is None


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1.5},
        {"exp": -1},
        {"exp": "1"},
        {"exp": True},
        {"nbf": float(NOW)},
        {"jti": 1},
        {"sub": 1},
        {"iss": []},
        {"sid": {}},
        {"aud": None},
        {"aud": 1},
        {"aud": ["a", 1]},
    ],
)
def test_claims_of_a_wrong_type_are_a_wrong_encoding(claims: dict[str, Any]) -> None:
    assert read(claims) == refusals.ENCODING


def test_null_is_absent_and_iat_is_never_read() -> None:
    nothing = dict.fromkeys(["exp", "nbf", "jti", "sub", "iss", "sid"])
    assert read(nothing | {"iat": "never"}) is None
    assert held(nothing) is None
    assert held({}) is None


def test_half_a_minute_of_leeway_both_ways() -> None:
    assert held({"exp": NOW - 29}) is None
    assert held({"exp": NOW - 30}, NOW - 0.001) is None
    assert held({"exp": NOW - 30}) == f"JWT token has expired (exp={NOW - 30})"
    assert held({"nbf": NOW + 29}) is None
    assert held({"nbf": NOW + 30}, NOW + 0.001) is None
    assert held({"nbf": NOW + 30}) == f"JWT token is not yet ready to use (nbf={NOW + 30})"


def test_the_audience_is_one_exact_match_and_asked_for_only_if_there_is_one() -> None:
    for aud in ("me", ["you", "me"]):
        assert held({"aud": aud}, audience="me") is None
    others: list[dict[str, Any]] = [{}, {"aud": "Me"}, {"aud": "me "}, {"aud": []}, {"aud": ["you"]}]
    for claims in others:
        assert held(claims, audience="me") == refusals.AUDIENCE
        assert held(claims) is None


def test_the_audience_is_looked_at_before_the_times() -> None:
    assert held({"exp": 0, "nbf": 2 * NOW}, audience="me") == refusals.AUDIENCE
    assert held({"exp": 0, "nbf": 2 * NOW}) == "JWT token has expired (exp=0)"


@pytest.mark.parametrize("name", ["ä", 'a"b', "a\\b", "a\nb"])
def test_names_of_claims_need_no_escape(name: str) -> None:
    check_names({"plain name {}": 1})
    with pytest.raises(RefusedError) as caught:
        check_names({name: 1})
    assert caught.value.text == refusals.CLAIM_NAME
