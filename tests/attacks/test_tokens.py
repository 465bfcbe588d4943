"""Hostile tokens, by VerifyToken and as a scope of RunScopedQuery: refused with a reason, or taken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace

import grpc
import pytest
from usher.v1 import query_service_pb2, token_service_pb2

from sidecar.core import keyring
from sidecar.core.keys import Algorithm, SigningKey, generate
from sidecar.core.signer import Signer
from sidecar.rpc.server import RpcListener
from sidecar.services.access import Listener
from tests.attacks.tokens import signatures, signed, vectors
from tests.attacks.tokens.vectors import Vector
from tests.fakes import START
from tests.processes import Process, running
from tests.rpc.running import (
    ISSUER,
    MIB,
    RUN,
    VERIFY,
    Refused,
    Running,
    insecure_channel,
    new_handlers,
    new_parts,
)
from tests.system.clients import DEADLINE, connected, refusal, with_token

TTL = 300
LEEWAY = 30
CLAIMS = {
    "iss": ISSUER,
    "sub": "alice",
    "iat": int(START),
    "nbf": int(START),
    "exp": int(START) + TTL,
    "jti": "id-1",
    "tenant_id": "acme",
}
KEYS = {
    Algorithm.ES256: [generate(Algorithm.ES256, 0) for _ in range(2)],
    Algorithm.RS256: [generate(Algorithm.RS256, 2048) for _ in range(2)],
}


@pytest.fixture(params=Algorithm, ids=str)
def keys(request: pytest.FixtureRequest) -> list[SigningKey]:
    """The active key, and the one that is published for later."""
    return KEYS[request.param]


@pytest.fixture
async def there(keys: list[SigningKey]) -> AsyncIterator[Running]:
    """The services with these keys, on a real socket."""
    made = new_parts()
    ring, _ = keyring.begin(keys[0], keys[1], made.clock.now())
    parts = replace(made, signer=Signer(ring, made.rotation, ISSUER, made.clock, made.seen))
    calls, every = new_handlers(parts)
    listener = RpcListener(Listener.DATA, "127.0.0.1:0", every, max_message_bytes=4 * MIB, reflection=False)
    await listener.start()
    try:
        served = Running(listener, calls, parts, insecure_channel)
        try:
            yield served
        finally:
            await served.channel.close()
    finally:
        await listener.stop(0)


async def answers(there: Running, token: str) -> tuple[str | None, str | None, int]:
    """The reason of each method's refusal, None for an answer; and how many statements ran."""
    before = len(there.backend.scopes)
    verify = token_service_pb2.VerifyTokenRequest(token=token)
    run = query_service_pb2.RunScopedQueryRequest(scope=with_token(token), sql="select 1")
    found = []
    for method, request in ((VERIFY, verify), (RUN, run)):
        try:
            await there.start(method, request)
            found.append(None)
        except grpc.aio.AioRpcError as error:
            found.append(_reason(error, token))
    return found[0], found[1], len(there.backend.scopes) - before


def _reason(error: grpc.aio.AioRpcError, token: str) -> str:
    """The reason of a refusal that repeats no part of the token."""
    code, reason = refusal(error)
    told = f"{error.details()} {error.trailing_metadata()}"
    assert not any(len(part) > 8 and part in told for part in token.split("."))
    assert code == ("INVALID_ARGUMENT" if reason == "INVALID_FIELD" else "UNAUTHENTICATED"), (code, reason)
    return reason


async def judge(there: Running, found: Iterable[Vector]) -> int:
    """Sends each token to both methods; returns how many there were."""
    wrong, count = [], 0
    for vector in found:
        count += 1
        verified, ran, statements = await answers(there, vector.token)
        wanted = {None} if vector.verdict is None else {reason.value for reason in vector.verdict}
        if verified not in wanted or ran not in wanted or statements != (vector.verdict is None):
            wrong.append((vector.name, verified, ran, statements, sorted(map(str, wanted))))
    assert wrong == []
    return count


async def test_altered_tokens(there: Running, keys: list[SigningKey]) -> None:
    token = signed.signed(keys[0], CLAIMS, typ="JWT")
    assert await judge(there, vectors.altered(token)) > 200


async def test_altered_signatures(there: Running, keys: list[SigningKey]) -> None:
    token = signed.signed(keys[0], CLAIMS)
    assert await judge(there, signatures.of_any(token)) > 70
    if keys[0].public.algorithm is Algorithm.ES256:
        assert await judge(there, signatures.of_es256(token)) > 100
    else:
        assert await judge(there, signatures.of_rs256(token, keys[0])) > 35


async def test_keys_of_strangers(there: Running, keys: list[SigningKey]) -> None:
    assert await judge(there, signed.of_strangers(keys[0], keys[1], CLAIMS)) > 40


async def test_claims_that_no_token_of_ours_has(there: Running, keys: list[SigningKey]) -> None:
    assert await judge(there, signed.of_claims(keys[0], CLAIMS)) > 80


async def test_odd_claims_cause_no_fault(there: Running, keys: list[SigningKey]) -> None:
    for token in signed.of_odd_claims(keys[0], CLAIMS):
        verified, ran, _ = await answers(there, token)
        assert {verified, ran} <= {None, "TOKEN_MALFORMED", "TOKEN_EXPIRED"}, token


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.999])
async def test_each_second_around_the_edges(there: Running, keys: list[SigningKey], fraction: float) -> None:
    token = signed.signed(keys[0], CLAIMS)
    seconds = [*range(-LEEWAY - 5, 6), *range(TTL - 5, TTL + 6), TTL + 3600, -86_400]
    for second in seconds:
        there.clock.set_back(there.clock.now() - (CLAIMS["nbf"] + second + fraction))
        verified, ran, _ = await answers(there, token)
        if second + fraction < -LEEWAY:
            wanted = "TOKEN_NOT_YET_VALID"
        else:
            wanted = "TOKEN_EXPIRED" if second + fraction >= TTL else None
        assert (second, verified, ran) == (second, wanted, wanted)


async def test_an_audience_asked_for_is_found_in_no_odd_claim(there: Running, keys: list[SigningKey]) -> None:
    for aud in (None, "", "ab", ["ab"], [["a"]], {"a": 1}, [None], 7, True, "A", " a", "a ", "a,b", []):
        token = signed.signed(keys[0], CLAIMS | {"aud": aud})
        request = token_service_pb2.VerifyTokenRequest(token=token, audience="a")
        refused: Refused = await there.refusal(VERIFY, request)
        assert refused.reason == "TOKEN_AUDIENCE_MISMATCH", aud


@pytest.fixture(scope="module", params=Algorithm, ids=str)
def sidecar(
    request: pytest.FixtureRequest, demo: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """`usher serve`, whose keys nobody else has."""
    with running("serve", **demo, issuer=ISSUER, algorithm=request.param.value) as process:
        yield process.wait_for("ready")


def test_altered_tokens_on_the_running_product(sidecar: Process) -> None:
    wrong = []
    with connected(sidecar.grpc_address) as client:
        token = client.issue("alice", {"tenant_id": "acme"})
        found = [*vectors.altered(token), *signatures.of_any(token)]
        if json.loads(vectors.decode(token.split(".")[0]))["alg"] == "ES256":
            found += signatures.of_es256(token)
        for vector in found:
            for call, request in (
                (client.tokens.VerifyToken, token_service_pb2.VerifyTokenRequest(token=vector.token)),
                (
                    client.queries.RunScopedQuery,
                    query_service_pb2.RunScopedQueryRequest(
                        scope=with_token(vector.token), sql="select id from users"
                    ),
                ),
            ):
                reason = None
                try:
                    call(request, timeout=DEADLINE)
                except grpc.RpcError as error:
                    reason = refusal(error)[1]
                wanted = {None} if vector.verdict is None else {one.value for one in vector.verdict}
                if reason not in wanted:
                    wrong.append((vector.name, reason))
    assert wrong == []
    assert sidecar.events("rpc_fault") == []
    assert [line for line in sidecar.lines for part in token.split(".")[1:] if part in line] == []
