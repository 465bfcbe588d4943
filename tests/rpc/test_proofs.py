"""Each proof alone: offered and good, offered and bad, not offered."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from sidecar.core.callers import CallerIdentity, Directory, Proof
from sidecar.core.errors import UsherError
from sidecar.core.keys import Algorithm, SigningKey, generate
from sidecar.services.callers import Authenticator, Facts
from sidecar.services.issuer_keys import REFRESH_SECONDS, IssuerKeys
from sidecar.services.peers import PeerCredentials
from sidecar.services.proofs import CertificateProof, KeyProof, ProcessProof, TokenProof
from tests import certificates
from tests.fakes import FakeClock, Recorder

CA = certificates.authority()
ID = "spiffe://example.org/gateway"
KEY = "usher_" + "k" * 43
ISSUER = "https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:shop:orders"
EVERYONE = Directory(
    (
        CallerIdentity(name="gateway", spiffe_ids=(ID,), dns_names=("gateway.example",)),
        CallerIdentity(name="local", uids=(1000,)),
        CallerIdentity(name="orders", service_accounts=((ISSUER, SUBJECT),)),
        CallerIdentity(name="robot", admin=True, key_hashes=(hashlib.sha256(KEY.encode()).hexdigest(),)),
    )
)
NOBODY = Directory()


async def refusal(proof: Authenticator, facts: Facts, directory: Directory = EVERYONE) -> str:
    with pytest.raises(UsherError) as caught:
        await proof.authenticate(facts, directory)
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"
    assert KEY not in caught.value.message
    return caught.value.message


# --- client certificates ---


def clock_of_now() -> FakeClock:
    return FakeClock(datetime.datetime.now(datetime.UTC).timestamp())


def shown(**names: Any) -> Facts:
    return Facts(certificate=certificates.client(CA, **names).pem)


async def test_a_certificate_by_its_spiffe_id() -> None:
    caller = await CertificateProof(clock_of_now()).authenticate(shown(uris=[ID]), EVERYONE)
    assert caller is not None
    assert (caller.name, caller.proof, caller.identity) == ("gateway", Proof.MTLS, ID)
    assert (caller.admin, caller.attributes) == (False, {"spiffe_id": ID})


async def test_a_certificate_by_a_dns_name() -> None:
    facts = shown(dns=["other.example", "Gateway.example"])
    caller = await CertificateProof(clock_of_now()).authenticate(facts, EVERYONE)
    assert caller is not None
    assert (caller.name, caller.attributes) == ("gateway", {"dns": "Gateway.example"})


async def test_a_certificate_of_nobody() -> None:
    proof = CertificateProof(clock_of_now())
    assert "SPIFFE ID is no caller's" in await refusal(proof, shown(uris=[ID + "x"]))
    assert "DNS names are not those of one" in await refusal(proof, shown(dns=["other.example"]))
    assert "several URIs" in await refusal(proof, shown(uris=[ID, ID + "x"]))
    assert "neither" in await refusal(proof, shown())


async def test_a_spiffe_id_that_is_nobodys_is_not_saved_by_a_dns_name() -> None:
    facts = shown(uris=[ID + "x"], dns=["gateway.example"])
    assert "SPIFFE ID is no caller's" in await refusal(CertificateProof(clock_of_now()), facts)


async def test_a_certificate_that_expires_while_its_connection_lasts() -> None:
    clock = clock_of_now()
    proof, facts = CertificateProof(clock), shown(uris=[ID])
    assert await proof.authenticate(facts, EVERYONE)
    await clock.advance(86_401)
    assert "expired" in await refusal(proof, facts)


async def test_where_nobody_is_known_by_certificate_it_only_opens_the_connection() -> None:
    directory = Directory((CallerIdentity(name="local", uids=(1000,)),))
    assert await CertificateProof(clock_of_now()).authenticate(shown(uris=[ID]), directory) is None
    assert await CertificateProof(clock_of_now()).authenticate(Facts(), EVERYONE) is None


# --- processes ---


async def test_a_process_by_its_user() -> None:
    facts = Facts(process=PeerCredentials(uid=1000, gid=7))
    caller = await ProcessProof().authenticate(facts, EVERYONE)
    assert caller is not None
    assert (caller.name, caller.proof, caller.identity) == ("local", Proof.UNIX, "uid 1000 gid 7")
    assert caller.attributes == {"uid": "1000", "gid": "7"}


async def test_a_process_of_nobody_offers_nothing() -> None:
    for facts in (Facts(), Facts(process=PeerCredentials(uid=1001, gid=7))):
        assert await ProcessProof().authenticate(facts, EVERYONE) is None


# --- bearer keys ---


def bearer(credential: str) -> Facts:
    return Facts(authorization=(f"Bearer {credential}",))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_key(scheme: str) -> None:
    caller = await KeyProof().authenticate(Facts(authorization=(f"{scheme} {KEY}",)), EVERYONE)
    assert caller is not None
    assert (caller.name, caller.proof, caller.admin, caller.attributes) == ("robot", Proof.KEY, True, {})
    assert caller.identity == "key " + hashlib.sha256(KEY.encode()).hexdigest()[:8]


@pytest.mark.parametrize("key", [KEY + "x", KEY[:-1], "usher_", KEY.upper().replace("USHER", "usher")])
async def test_a_key_of_nobody(key: str) -> None:
    assert "the key is no caller's" in await refusal(KeyProof(), bearer(key))
    assert "the key is no caller's" in await refusal(KeyProof(), bearer(KEY), NOBODY)


async def test_what_is_no_key_is_not_a_keys_matter() -> None:
    for facts in (Facts(), bearer("a.b.c")):
        assert await KeyProof().authenticate(facts, EVERYONE) is None


@pytest.mark.parametrize(
    "values",
    [
        (f"Bearer {KEY}", f"Bearer {KEY}"),
        (f"Basic {KEY}",),
        (KEY,),
        ("Bearer",),
        ("Bearer ",),
        ("",),
        (f"Bearer  {KEY}",),
        ("Bearer \N{SNOWMAN}",),
        (b"Bearer \xff",),
    ],
)
async def test_other_forms_of_the_metadata_are_refused(values: tuple[str | bytes, ...]) -> None:
    facts = Facts(authorization=values)
    if values == (f"Bearer  {KEY}",):
        # A credential of its own, which is neither.
        assert await KeyProof().authenticate(facts, EVERYONE) is None
        await refusal(token_proof(None), facts)
        return
    for proof in (KeyProof(), token_proof(None)):
        assert (await refusal(proof, facts)).startswith("authorization: ")


# --- service-account tokens ---


class Issuer:
    """Signs tokens, and publishes its keys."""

    def __init__(self) -> None:
        self.keys = [generate(Algorithm.ES256, 0)]
        self.clock = FakeClock()

    async def fetch(self) -> bytes:
        return json.dumps({"keys": [dict(key.public.jwk) for key in self.keys]}).encode()

    def token(self, key: SigningKey | None = None, **changes: Any) -> str:
        key = key or self.keys[0]
        now = int(self.clock.now())
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": ["usher"], "exp": now + 60, "iat": now} | changes
        return jwt.encode(claims, key.private, algorithm="ES256", headers={"kid": key.public.kid})


def token_proof(keys: IssuerKeys | None, clock: FakeClock | None = None) -> TokenProof:
    return TokenProof(keys, ISSUER, "usher", clock or FakeClock())


@contextlib.asynccontextmanager
async def issuing() -> AsyncIterator[tuple[Issuer, TokenProof]]:
    issuer = Issuer()
    keys = IssuerKeys(issuer.fetch, issuer.clock, Recorder())
    running = asyncio.create_task(keys.run())
    await issuer.clock.settle()
    try:
        yield issuer, token_proof(keys, issuer.clock)
    finally:
        running.cancel()


async def test_a_token() -> None:
    async with issuing() as (issuer, proof):
        for _ in range(2):
            caller = await proof.authenticate(bearer(issuer.token()), EVERYONE)
            assert caller is not None
            assert (caller.name, caller.proof, caller.identity) == ("orders", Proof.JWT, SUBJECT)
            assert caller.attributes == {"namespace": "shop", "service_account": "orders"}


async def test_a_token_of_nobody() -> None:
    async with issuing() as (issuer, proof):
        other = issuer.token(sub="system:serviceaccount:shop:other")
        assert "its subject is no caller's" in await refusal(proof, bearer(other))
        assert "its subject is no caller's" in await refusal(proof, bearer(issuer.token()), NOBODY)


async def test_attacks_on_a_token() -> None:
    async with issuing() as (issuer, proof):
        good = issuer.token()
        head, payload, tag = good.split(".")
        assert await proof.authenticate(bearer(good), EVERYONE)
        stranger = generate(Algorithm.ES256, 0)
        for attack, expected in (
            (issuer.token(exp=int(issuer.clock.now())), "expired"),
            (issuer.token(aud=["api"]), "not meant for this sidecar"),
            (issuer.token(iss="https://other"), "another issuer"),
            (issuer.token(stranger), "no key of its issuer has its kid"),
            (f"{head}.{payload}.", "neither"),
            (f"{head}.{payload}", "neither"),
            (f"{head}.{issuer.token(jti='x').split('.')[1]}.{tag}", "signature"),
            (jwt.encode({"sub": SUBJECT}, "", algorithm="none", headers={"kid": "a"}), "neither"),
        ):
            assert expected in await refusal(proof, bearer(attack)), expected


async def test_a_remembered_token_expires_all_the_same() -> None:
    async with issuing() as (issuer, proof):
        facts = bearer(issuer.token())
        assert await proof.authenticate(facts, EVERYONE)
        await issuer.clock.advance(59.9)
        assert await proof.authenticate(facts, EVERYONE)
        await issuer.clock.advance(0.1)
        assert "expired" in await refusal(proof, facts)


async def test_a_remembered_token_ends_with_its_key() -> None:
    async with issuing() as (issuer, proof):
        facts = bearer(issuer.token(exp=int(issuer.clock.now() + 2 * REFRESH_SECONDS)))
        assert await proof.authenticate(facts, EVERYONE)
        issuer.keys[:] = [generate(Algorithm.ES256, 0)]
        await issuer.clock.advance(REFRESH_SECONDS)
        assert "no key of its issuer" in await refusal(proof, facts)


async def test_a_remembered_token_is_looked_up_in_the_callers_of_now() -> None:
    async with issuing() as (issuer, proof):
        facts = bearer(issuer.token())
        assert await proof.authenticate(facts, EVERYONE)
        await refusal(proof, facts, NOBODY)


async def test_memory_of_tokens_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.services.proofs._MOST_REMEMBERED", 3)
    async with issuing() as (issuer, proof):
        for number in range(10):
            assert await proof.authenticate(bearer(issuer.token(jti=str(number))), EVERYONE)
            assert len(proof._verified) <= 3


async def test_without_an_issuer_no_token_is_taken() -> None:
    assert "takes no service-account tokens" in await refusal(token_proof(None), bearer("a.b.c"))
    for facts in (Facts(), bearer(KEY)):
        assert await token_proof(None).authenticate(facts, EVERYONE) is None
