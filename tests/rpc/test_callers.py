"""Callers on real sockets: who gets in by which proof, who does not, and no weaker proof instead."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from usher.v1 import key_service_pb2, token_service_pb2

from sidecar.core.callers import Caller, CallerIdentity, Directory
from sidecar.core.events import CallerRefused, RpcFinished
from sidecar.core.keys import Algorithm, generate
from sidecar.rpc.doors import Door
from sidecar.rpc.peer_relay import PeerRelay
from sidecar.rpc.tls import Tls, TlsFiles
from sidecar.services.access import ACCESS, Listener
from sidecar.services.callers import Callers, Facts
from sidecar.services.issuer_keys import IssuerKeys
from sidecar.services.proofs import CertificateProof, KeyProof, ProcessProof, TokenProof
from tests import certificates
from tests.fakes import FakeClock, Recorder
from tests.rpc.running import ISSUE, LIST_KEYS, PATIENCE, Running, issue, running

CA = certificates.authority()
SERVER = certificates.server(CA)
ID = "spiffe://example.org/gateway"
KEY, ADMIN_KEY = "usher_" + "k" * 43, "usher_" + "a" * 43
ISSUER = "https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:shop:orders"
SIGNING = generate(Algorithm.ES256, 0)
# Far enough for every test; the proofs' own tests move the clock.
NOW = int(datetime.datetime.now(datetime.UTC).timestamp())


def hashed(key: str) -> tuple[str, ...]:
    return (hashlib.sha256(key.encode()).hexdigest(),)


GATEWAY = CallerIdentity(name="gateway", spiffe_ids=(ID,))
LOCAL = CallerIdentity(name="local", uids=(os.geteuid(),))
STRANGER = CallerIdentity(name="local", uids=(4242,))
ORDERS = CallerIdentity(name="orders", service_accounts=((ISSUER, SUBJECT),))
ROBOT = CallerIdentity(name="robot", key_hashes=hashed(KEY))
ADMIN = CallerIdentity(name="operator", admin=True, key_hashes=hashed(ADMIN_KEY))


async def key_set() -> bytes:
    return json.dumps({"keys": [dict(SIGNING.public.jwk)]}).encode()


def token(**changes: Any) -> str:
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": ["usher"], "exp": NOW + 600, "iat": NOW} | changes
    return jwt.encode(claims, SIGNING.private, algorithm="ES256", headers={"kid": SIGNING.public.kid})


class Served(Running):
    """A listener with callers."""

    refusals: Recorder

    async def name(self, **metadata: str) -> str:
        """As whom a token is issued, by the event of the call; the proof that failed for one that is not."""
        self.seen.events.clear()
        code = await self.start(ISSUE, issue(), **metadata).code()
        (event,) = self.seen.of(RpcFinished)
        if code is grpc.StatusCode.OK:
            return event.caller
        assert (code.name, event.reason, event.caller) == ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED", "")
        return f"no {self.refusals.of(CallerRefused)[-1].proof}"


@contextlib.asynccontextmanager
async def served(
    *identities: CallerIdentity,
    address: str = "127.0.0.1:0",
    listener: Listener = Listener.DATA,
    anonymous: bool = False,
    tls: Tls | None = None,
    own: certificates.Certified | None = None,
    takes_anonymous: bool = True,
) -> AsyncIterator[Served]:
    """A listener on which these callers are configured; `own` is the client's certificate."""
    clock, refusals = FakeClock(NOW), Recorder()
    relay = PeerRelay(address.removeprefix("unix:"), 0o666) if address.startswith("unix:") else None
    door = Door(tls=tls, relay=relay, takes_anonymous=takes_anonymous, for_admin=False)
    keys = IssuerKeys(key_set, clock, Recorder())
    fetching = asyncio.create_task(keys.run())
    proofs = CertificateProof(clock), ProcessProof(), TokenProof(keys, ISSUER, "usher", clock), KeyProof()
    callers = Callers(dict.fromkeys(Listener, door), proofs, refusals)
    callers.configure(Directory(identities), anonymous=anonymous)

    def channel(where: str) -> grpc.aio.Channel:
        options = (("grpc.use_local_subchannel_pool", 1),)
        if tls is None:
            return grpc.aio.insecure_channel(where, options=options)
        credentials = grpc.ssl_channel_credentials(
            CA.pem, own.key_pem if own else None, own.pem if own else None
        )
        return grpc.aio.secure_channel(where, credentials, options=options)

    try:
        async with running(listener, address, callers=callers, door=door, channel=channel) as there:
            there.__class__ = Served
            assert isinstance(there, Served)
            there.refusals = refusals
            yield there
    finally:
        fetching.cancel()


def with_tls(folder: Path, *, client_ca: bool = True) -> Tls:
    cert, key = SERVER.write(folder, "server")
    (folder / "ca.pem").write_bytes(CA.pem)
    files = TlsFiles(cert=cert, key=key, client_ca=folder / "ca.pem" if client_ca else None)
    return Tls(files, FakeClock(NOW), Recorder())


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


# --- each proof ---


async def test_by_certificate(tmp_path: Path) -> None:
    mine = certificates.client(CA, uris=[ID])
    async with served(GATEWAY, ROBOT, tls=with_tls(tmp_path), own=mine) as there:
        assert await there.name() == "gateway"
        assert await there.name() == "gateway"
        (event,) = there.seen.of(RpcFinished)
        assert event.identity == ID


@pytest.mark.parametrize(
    "names",
    [
        {"uris": ["spiffe://example.org/other"]},
        {"uris": [ID, "spiffe://example.org/other"]},
        {"dns": ["gateway.example"]},
        {},
    ],
)
async def test_a_certificate_of_nobody_is_not_saved_by_a_good_key(
    tmp_path: Path, names: dict[str, list[str]]
) -> None:
    other = certificates.client(CA, **names)
    async with served(GATEWAY, ROBOT, anonymous=True, tls=with_tls(tmp_path), own=other) as there:
        assert await there.name() == "no mtls"
        assert await there.name(**bearer(KEY)) == "no mtls"


async def test_by_key_over_tls(tmp_path: Path) -> None:
    async with served(ROBOT, tls=with_tls(tmp_path, client_ca=False)) as there:
        assert await there.name(**bearer(KEY)) == "robot"
        assert await there.name() == "no anonymous"


async def test_by_process(tmp_path: Path) -> None:
    async with served(LOCAL, ROBOT, address=f"unix:{tmp_path}/a.sock") as there:
        assert await there.name() == "local"
        # The stronger proof decides alone.
        assert await there.name(**bearer(KEY)) == "local"
        (event,) = there.seen.of(RpcFinished)
        assert event.identity == f"uid {os.geteuid()} gid {os.getegid()}"


CALL_AS = """
import os, sys
import grpc
from usher.v1 import token_service_pb2 as pb, token_service_pb2_grpc as rpc
# After the imports: Python itself may lie where the other user may not go.
uid = int(sys.argv[2])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        rpc.TokenServiceStub(channel).IssueToken(pb.IssueTokenRequest(subject="alice"), timeout=20)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name)
"""


async def test_by_process_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    # Every folder down to it must be open to the other user; pytest's are not.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o711)
        async with served(STRANGER, address=f"unix:{folder}/a.sock") as there:
            assert await there.name() == "no anonymous"  # root itself
            for uid, expected in ((4242, "OK"), (4243, "UNAUTHENTICATED")):
                there.seen.events.clear()
                done = await _output(sys.executable, "-c", CALL_AS, f"unix:{folder}/a.sock", str(uid))
                assert done == expected
                (event,) = there.seen.of(RpcFinished)
                assert event.caller == ("local" if uid == 4242 else "")


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix"])
async def test_by_token(tmp_path: Path, address: str) -> None:
    where = f"unix:{tmp_path}/a.sock" if address == "unix" else address
    async with served(STRANGER, ORDERS, ROBOT, address=where) as there:
        assert await there.name(**bearer(token())) == "orders"
        assert await there.name(**bearer(token(aud=["api"]))) == "no jwt"
        assert await there.name(**bearer(token(exp=NOW))) == "no jwt"
        assert await there.name(**bearer(token(sub=SUBJECT + "x"))) == "no jwt"


async def test_by_key() -> None:
    async with served(ROBOT, ORDERS) as there:
        assert await there.name(**bearer(KEY)) == "robot"
        assert await there.name(**bearer(KEY + "x")) == "no key"
        assert await there.name(authorization=KEY) == "no key"
        assert await there.name() == "no anonymous"


# --- no proof ---


async def test_whoever_proves_nothing_is_told_how_to() -> None:
    async with served(ROBOT) as there:
        refused = await there.refusal(ISSUE, issue())
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED")
        assert refused.metadata["proof"] == "anonymous"
        assert "authorization: Bearer" in refused.message
        assert refused.retry_after is None


async def test_a_process_of_nobody_is_told_its_numbers(tmp_path: Path) -> None:
    async with served(STRANGER, address=f"unix:{tmp_path}/a.sock") as there:
        refused = await there.refusal(ISSUE, issue())
        assert f"uid {os.geteuid()} and gid {os.getegid()} are no caller's" in refused.message


async def test_where_the_policy_has_rules_for_them_they_are_anonymous(tmp_path: Path) -> None:
    async with served(ROBOT, anonymous=True) as there:
        assert await there.name() == "anonymous"
        assert await there.name(**bearer(KEY)) == "robot"
        # But not with a proof that does not hold.
        for credential, proof in ((KEY + "x", "no key"), ("a.b.c", "no jwt")):
            assert await there.name(**bearer(credential)) == proof
    async with served(STRANGER, anonymous=True, address=f"unix:{tmp_path}/a.sock") as there:
        assert await there.name() == "anonymous"


async def test_never_where_other_machines_come_in() -> None:
    async with served(ROBOT, anonymous=True, takes_anonymous=False) as there:
        assert await there.name() == "no anonymous"
        assert await there.name(**bearer(KEY)) == "robot"


@pytest.mark.parametrize("rpc", ACCESS)
async def test_nobody_learns_anything_about_a_request(rpc: str) -> None:
    async with served(ROBOT, listener=ACCESS[rpc].listener) as there:
        for request in (b"", b"\xff malformed", b"x" * 200_000):
            refused = await there.refusal(rpc, request)
            assert refused.reason == "CALLER_UNAUTHENTICATED"
            assert refused.violations == {}


# --- admins ---


async def test_key_service_is_for_admins() -> None:
    async with served(ROBOT, ADMIN, listener=Listener.ADMIN, anonymous=True) as there:
        ask, response = key_service_pb2.ListKeysRequest(), key_service_pb2.ListKeysResponse
        assert (await there.answer(LIST_KEYS, ask, response, **bearer(ADMIN_KEY))).keys
        refused = await there.refusal(LIST_KEYS, ask, **bearer(KEY))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "POLICY_REFUSED")
        assert refused.metadata["rule"] == "callers.robot.admin"
        refused = await there.refusal(LIST_KEYS, ask)
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED")


@pytest.mark.parametrize(("for_admin", "code"), [(True, "OK"), (False, "UNAUTHENTICATED")])
async def test_without_callers_the_admin_socket_makes_admins(for_admin: bool, code: str) -> None:
    callers = Callers({Listener.ADMIN: Door(for_admin=for_admin)}, (), Recorder())
    async with running(Listener.ADMIN, callers=callers) as there:
        call = there.start(LIST_KEYS, key_service_pb2.ListKeysRequest())
        assert (await call.code()).name == code


async def test_with_callers_it_does_not(tmp_path: Path) -> None:
    callers = Callers({Listener.ADMIN: Door(for_admin=True)}, (KeyProof(),), Recorder())
    callers.configure(Directory((ROBOT,)), anonymous=True)
    async with running(Listener.ADMIN, callers=callers) as there:
        refused = await there.refusal(LIST_KEYS, key_service_pb2.ListKeysRequest())
        assert refused.reason == "CALLER_UNAUTHENTICATED"


# --- the rest ---


async def test_past_the_relay_there_is_no_way_in(tmp_path: Path) -> None:
    """Not even with a good key: whoever comes that way is not who the kernel would say."""
    async with served(LOCAL, ROBOT, anonymous=True, address=f"unix:{tmp_path}/a.sock") as there:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/a.sock~/grpc") as inner:
            there.channel, outer = inner, there.channel
            assert await there.name() == "no unix"
            assert await there.name(**bearer(KEY)) == "no unix"
            there.channel = outer
        assert await there.name() == "local"


async def test_callers_that_change_are_seen_by_the_next_call() -> None:
    callers = Callers(dict.fromkeys(Listener, Door()), (KeyProof(),), Recorder())
    async with running(callers=callers) as there:
        await there.answer(ISSUE, issue(), token_service_pb2.IssueTokenResponse, **bearer("anything"))
        callers.configure(Directory((ROBOT,)), anonymous=False)
        await there.answer(ISSUE, issue(), token_service_pb2.IssueTokenResponse, **bearer(KEY))
        callers.configure(Directory((ADMIN,)), anonymous=False)
        assert (await there.refusal(ISSUE, issue(), **bearer(KEY))).reason == "CALLER_UNAUTHENTICATED"


async def test_a_call_that_waits_for_its_proof_is_none_of_the_callers_before() -> None:
    """The name of the caller before may be another's by then."""
    here, on = asyncio.Event(), asyncio.Event()

    class SlowKeyProof(KeyProof):
        async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
            found = await super().authenticate(facts, directory)
            here.set()
            await on.wait()
            return found

    callers = Callers(dict.fromkeys(Listener, Door()), (SlowKeyProof(),), Recorder())
    callers.configure(Directory((ROBOT,)), anonymous=False)
    async with running(callers=callers) as there:
        call = there.start(ISSUE, issue(), **bearer(KEY))
        await asyncio.wait_for(here.wait(), PATIENCE)
        callers.configure(Directory((replace(ADMIN, name=ROBOT.name),)), anonymous=False)
        on.set()
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_needs_no_caller(tmp_path: Path) -> None:
    async with served(ROBOT, address=f"unix:{tmp_path}/a.sock") as there:
        stub = health_pb2_grpc.HealthStub(there.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_what_was_offered_is_in_no_answer_and_no_event() -> None:
    async with served(ROBOT) as there:
        for credential in (KEY, KEY + "x", token(), "eyJ.hunter2.x"):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await there.start(ISSUE, issue(), **bearer(credential))
        for credential in (KEY + "x", token()):
            refused = await there.refusal(ISSUE, issue(), **bearer(credential))
            assert credential not in repr(refused)
        text = repr(there.seen.events) + repr(there.refusals.events)
        for secret in (KEY, token(), "hunter2", SUBJECT):
            assert secret not in text
