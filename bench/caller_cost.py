"""What it costs to know a caller: CPU microseconds of each proof, and of a call through the relay.

python bench/caller_cost.py
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import hashlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt

sys.path.insert(0, str(Path(__file__).parent.parent))

from sidecar.core.callers import CallerIdentity, Directory
from sidecar.core.clock import SystemClock
from sidecar.core.events import ignore
from sidecar.core.keys import Algorithm, generate
from sidecar.rpc.peer_relay import PeerRelay
from sidecar.services.callers import Facts
from sidecar.services.issuer_keys import IssuerKeys
from sidecar.services.peers import PeerCredentials
from sidecar.services.proofs import CertificateProof, KeyProof, ProcessProof, TokenProof
from tests import certificates

CALLERS = 100
ISSUER = "https://kubernetes.default.svc"
KEY = "usher_" + secrets.token_urlsafe(32)


def directory() -> Directory:
    """Callers of each kind; the ones that call are the last."""
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(CALLERS - 1)]
    hashes.append(hashlib.sha256(KEY.encode()).hexdigest())
    return Directory(
        [
            CallerIdentity(
                name=f"caller{number}",
                spiffe_ids=(f"spiffe://example.org/{number}",),
                uids=(1000 + number,),
                service_accounts=((ISSUER, f"system:serviceaccount:shop:{number}"),),
                key_hashes=(hashes[number],),
            )
            for number in range(CALLERS)
        ]
    )


async def cost(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """CPU microseconds of one piece of work: the best of five runs."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            await work()
        best = min(best, (time.process_time() - started) / times * 1e6)
    return best


async def show(name: str, work: Callable[[], Awaitable[Any]], times: int = 5000) -> None:
    """Measures and prints one line."""
    print(f"{name:28} {await cost(work, times):7.1f} us")


async def proofs() -> None:
    """Each proof, the caller being the last of the directory."""
    everyone, clock, last = directory(), SystemClock(), CALLERS - 1
    pem = certificates.client(certificates.authority(), uris=[f"spiffe://example.org/{last}"]).pem
    certificate = Facts(certificate=pem)
    process = Facts(process=PeerCredentials(uid=1000 + last, gid=1000))
    known, process_proof, key_proof = CertificateProof(clock), ProcessProof(), KeyProof()
    await show("mtls, known connection", lambda: known.authenticate(certificate, everyone))
    await show(
        "mtls, new connection", lambda: CertificateProof(clock).authenticate(certificate, everyone), 500
    )
    await show("unix", lambda: process_proof.authenticate(process, everyone))
    for algorithm in Algorithm:
        signing = generate(algorithm, 2048)
        document = json.dumps({"keys": [dict(signing.public.jwk)]}).encode()

        async def fetch(document: bytes = document) -> bytes:
            return document

        keys = IssuerKeys(fetch, clock, ignore)
        fetching = asyncio.create_task(keys.run())
        await asyncio.sleep(0.05)
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:shop:{last}",
            "aud": ["usher"],
            "exp": int(time.time()) + 600,
        }
        compact = jwt.encode(
            claims, signing.private, algorithm=algorithm.value, headers={"kid": signing.public.kid}
        )
        token = Facts(authorization=(f"Bearer {compact}",))
        fresh = functools.partial(TokenProof, keys, ISSUER, "usher", clock)
        seen = functools.partial(fresh().authenticate, token, everyone)
        await show(f"jwt {algorithm.value}, seen before", seen)
        await show(f"jwt {algorithm.value}, new", functools.partial(once, fresh, token, everyone), 500)
        fetching.cancel()
    key = Facts(authorization=(f"Bearer {KEY}",))
    await show("key", lambda: key_proof.authenticate(key, everyone))


async def once(make: Callable[[], TokenProof], facts: Facts, everyone: Directory) -> None:
    """A token that was not seen before."""
    await make().authenticate(facts, everyone)


async def handle(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    """An empty call."""
    return data


@contextlib.asynccontextmanager
async def serving(address: str) -> AsyncIterator[None]:
    """A gRPC server with the empty call."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.X", {"Y": handler}),))
    server.add_insecure_port(address)
    await server.start()
    yield
    await server.stop(0)


async def relay(calls: int, size: int) -> None:
    """The same call with and without the relay, client and server in this process, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        through = PeerRelay(f"{folder}/a.sock")
        through.prepare()
        async with serving(through.inner_address):
            await through.start()
            channels = {
                "plain": grpc.aio.insecure_channel(through.inner_address),
                "relay": grpc.aio.insecure_channel(f"unix:{folder}/a.sock"),
            }
            data, found = b"x" * size, {name: [] for name in channels}  # type: ignore[var-annotated]
            for _ in range(9):
                for name, channel in channels.items():
                    call: Any = channel.unary_unary("/x.X/Y")
                    await call(data)
                    wall, cpu = time.perf_counter(), time.process_time()
                    for _ in range(calls):
                        await call(data)
                    waited, worked = time.perf_counter() - wall, time.process_time() - cpu
                    found[name].append((waited / calls * 1e6, worked / calls * 1e6))
            for channel in channels.values():
                await channel.close()
        await through.close()
    middle = {name: [sorted(column)[4] for column in zip(*runs, strict=True)] for name, runs in found.items()}
    added = [after - before for before, after in zip(middle["plain"], middle["relay"], strict=True)]
    print(
        f"{size:7} bytes: plain {middle['plain'][0]:6.0f} us, relay {middle['relay'][0]:6.0f} us; "
        f"added {added[0]:5.0f} us waited, {added[1]:5.0f} us CPU"
    )


async def main() -> None:
    """All of it."""
    print(datetime.datetime.now(datetime.UTC).date(), f"{CALLERS} callers")
    await proofs()
    print("\na call through the relay, client and server in one process")
    for calls, size in ((300, 200), (300, 16_384), (50, 1024**2)):
        await relay(calls, size)


if __name__ == "__main__":
    asyncio.run(main())
