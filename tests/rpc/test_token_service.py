"""IssueToken and VerifyToken through a real channel: what is granted, and every way to be refused."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from usher.v1 import token_service_pb2 as pb

from sidecar.core import jws
from sidecar.core.events import TokenIssued, TokenRefused
from sidecar.services.convert import struct_to_dict
from tests.fakes import START
from tests.rpc.running import ISSUE, ISSUER, VERIFY, Running, issue, running


def payload_of(compact: str) -> Any:
    encoded = compact.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


async def verified(there: Running, token: str, audience: str = "") -> pb.VerifyTokenResponse:
    request = pb.VerifyTokenRequest(token=token, audience=audience)
    return await there.answer(VERIFY, request, pb.VerifyTokenResponse)


async def test_a_token_and_what_is_worth_knowing_about_it() -> None:
    async with running() as there:
        request = issue(audiences=["app"], tenant_id="acme", level=7, ratio=0.5, tags=["a", 2, None, {}])
        request.ttl.seconds = 60
        answer = await there.answer(ISSUE, request, pb.IssueTokenResponse)
        payload = payload_of(answer.token)
        assert payload == {
            "iss": ISSUER,
            "sub": "alice",
            "aud": "app",
            "iat": int(START),
            "nbf": int(START),
            "exp": int(START) + 60,
            "jti": answer.jti,
            "tenant_id": "acme",
            "level": 7,
            "ratio": 0.5,
            "tags": ["a", 2, None, {}],
        }
        assert (answer.alg, answer.kid) == ("ES256", there.signer.ring.keys[0].key.kid)
        assert (answer.issue_time.seconds, answer.expire_time.seconds) == (int(START), int(START) + 60)
        assert struct_to_dict(answer.claims) == payload


async def test_whole_numbers_stay_whole() -> None:
    """In the token as JSON has them; a Struct has only doubles, and holds them exactly."""
    async with running() as there:
        answer = await there.answer(ISSUE, issue(small=7, large=2**53 - 1, list=[1]), pb.IssueTokenResponse)
        payload = payload_of(answer.token)
        assert [type(payload[name]) for name in ("small", "large", "exp")] == [int, int, int]
        for claims in (payload, answer.claims, (await verified(there, answer.token)).claims):
            assert (claims["small"], claims["large"], claims["exp"]) == (7, 2**53 - 1, int(START) + 300)


async def test_validate_only_signs_nothing() -> None:
    async with running() as there:
        request = issue(tenant_id="acme")
        request.validate_only = True
        answer = await there.answer(ISSUE, request, pb.IssueTokenResponse)
        assert answer.token == ""
        assert answer.claims["tenant_id"] == "acme"
        assert answer.kid
        assert answer.HasField("expire_time")
        assert there.seen.of(TokenIssued) == []


@pytest.mark.parametrize("subject", ["", " ", "\t\n", "a\0b"])
async def test_a_subject_that_names_nobody(subject: str) -> None:
    async with running() as there:
        refused = await there.refusal(ISSUE, issue(subject))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert list(refused.violations) == ["subject"]


@pytest.mark.parametrize(
    "ttl",
    [
        Duration(),
        Duration(seconds=-1),
        Duration(seconds=-(2**63), nanos=-(2**31)),
        Duration(seconds=3601),
        Duration(seconds=2**63 - 1, nanos=2**31 - 1),
        Duration(nanos=500_000_000),
        Duration(seconds=60, nanos=1),
        Duration(seconds=1, nanos=-1),
    ],
    ids=str,
)
async def test_lifetimes_that_are_refused(ttl: Duration) -> None:
    async with running() as there:
        request = issue()
        request.ttl.CopyFrom(ttl)
        refused = await there.refusal(ISSUE, request)
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "TTL_OUT_OF_RANGE")
        assert list(refused.violations) == ["ttl"]


@pytest.mark.parametrize(
    ("claims", "reason", "field"),
    [
        ({"exp": 1}, "CLAIM_RESERVED", "claims.exp"),
        ({"sub": "mallory"}, "CLAIM_RESERVED", "claims.sub"),
        ({"tenänt": "x"}, "CLAIM_NAME_INVALID", "claims"),
        ({"": "x"}, "CLAIM_NAME_INVALID", "claims"),
        ({'a"b': "x"}, "CLAIM_NAME_INVALID", "claims"),
        ({"big": "x" * 9000}, "CLAIMS_TOO_LARGE", "claims"),
        ({"many": list(range(5000))}, "CLAIMS_TOO_LARGE", "claims"),
        ({"n": 2**53 + 2}, "CLAIM_NOT_EXACT", "claims.n"),
        ({"n": [1e300]}, "CLAIM_NOT_EXACT", "claims.n"),
        ({"text": "a\0b"}, "INVALID_FIELD", "claims.text"),
        ({"sid": 7}, "INVALID_FIELD", "claims.sid"),
    ],
)
async def test_claims_that_are_refused(claims: dict[str, Any], reason: str, field: str) -> None:
    async with running() as there:
        refused = await there.refusal(ISSUE, issue(**claims))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)
        assert list(refused.violations) == [field]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_numbers_that_json_lacks(number: float) -> None:
    async with running() as there:
        request = issue()
        request.claims.CopyFrom(Struct(fields={"n": Value(number_value=number)}))
        assert (await there.refusal(ISSUE, request)).reason == "CLAIM_NOT_EXACT"


async def test_claims_may_be_nested_sixteen_levels_deep() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}

    async with running() as there:
        await there.answer(ISSUE, issue(**nested(16)), pb.IssueTokenResponse)
        assert (await there.refusal(ISSUE, issue(**nested(17)))).reason == "CLAIMS_TOO_DEEP"


async def test_a_claim_without_a_value_is_null() -> None:
    async with running() as there:
        request = issue()
        request.claims.CopyFrom(Struct(fields={"nothing": Value()}))
        answer = await there.answer(ISSUE, request, pb.IssueTokenResponse)
        assert payload_of(answer.token)["nothing"] is None


async def test_no_refusal_repeats_a_claim() -> None:
    async with running() as there:
        for claims in ({"n": 9.1e18, "pin": "hunter2"}, {"sid": ["hunter2"]}, {"a": "hunter2" * 2000}):
            assert "hunter2" not in repr(await there.refusal(ISSUE, issue(**claims)))


async def test_without_a_key_nothing_is_signed() -> None:
    async with running() as there:
        there.clock.set_back(-3 * 86_400)
        refused = await there.refusal(ISSUE, issue())
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "SIGNING_UNAVAILABLE")


async def test_a_token_that_holds() -> None:
    async with running() as there:
        token = await there.token(audiences=["app", "api"], tenant_id="acme", level=7)
        answer = await verified(there, token, "api")
        assert (answer.subject, answer.alg) == ("alice", "ES256")
        assert answer.jti == answer.claims["jti"]
        assert answer.kid == there.signer.ring.keys[0].key.kid
        assert answer.expire_time.seconds - answer.issue_time.seconds == 300
        assert list(answer.claims["aud"]) == ["app", "api"]
        assert answer.claims["level"] == 7


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("no.token.here", "TOKEN_MALFORMED"),
        ("x", "TOKEN_MALFORMED"),
        ("é.é.é", "TOKEN_MALFORMED"),
        ("eyJhbGciOiJub25lIn0.e30.", "TOKEN_ALGORITHM_REFUSED"),
        ("eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AA", "TOKEN_KEY_UNKNOWN"),
    ],
)
async def test_texts_that_are_no_token_of_ours(token: str, reason: str) -> None:
    async with running() as there:
        refused = await there.refusal(VERIFY, pb.VerifyTokenRequest(token=token))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", reason)
        assert refused.metadata["field"] == "token"
        assert there.seen.of(TokenRefused) == [TokenRefused(reason=reason)]


async def test_a_token_that_was_changed() -> None:
    async with running() as there:
        header, _, signature = (await there.token()).split(".")
        forged = base64.urlsafe_b64encode(b'{"sub":"mallory"}').decode().rstrip("=")
        refused = await there.refusal(VERIFY, pb.VerifyTokenRequest(token=f"{header}.{forged}.{signature}"))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_SIGNATURE_INVALID")
        assert forged not in repr(refused)


async def test_a_token_of_another_time_issuer_or_audience() -> None:
    async with running() as there:
        token = await there.token(audiences=["app"])
        refused = await there.refusal(VERIFY, pb.VerifyTokenRequest(token=token, audience="other"))
        assert refused.reason == "TOKEN_AUDIENCE_MISMATCH"
        await there.clock.advance(300)
        assert (await there.refusal(VERIFY, pb.VerifyTokenRequest(token=token))).reason == "TOKEN_EXPIRED"
        there.clock.set_back(1000)
        assert (
            await there.refusal(VERIFY, pb.VerifyTokenRequest(token=token))
        ).reason == "TOKEN_NOT_YET_VALID"
        key = there.signer.ring.keys[0].signing_key
        assert key is not None
        times = dict.fromkeys(("iat", "nbf", "exp"), int(there.clock.now()) + 10)
        elsewhere = jws.sign(key, {"iss": "https://other", "sub": "alice", "jti": "1", **times})
        refused = await there.refusal(VERIFY, pb.VerifyTokenRequest(token=elsewhere))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_ISSUER_MISMATCH")
