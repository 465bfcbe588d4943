"""The listener: TCP, TLS and Unix sockets, callers by their proofs, limits of connections, and draining."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import stat
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from sidecar.connect.doors import Door
from sidecar.connect.tls import TlsPaths
from sidecar.core.callers import CallerIdentity, Directory
from sidecar.core.errors import SettingsError
from sidecar.core.events import CallerRefused, RpcFinished
from sidecar.services.callers import Callers
from sidecar.services.proofs import CertificateProof, KeyProof, ProcessProof
from tests import certificates
from tests.connect.running import running
from tests.fakes import FakeClock, Recorder
from tests.rpc.running import ISSUE, PATIENCE, RUN

CA = certificates.authority()
OTHER_CA = certificates.authority("another authority")
SERVER = certificates.server(CA)
ALICE = {"subject": "alice"}
QUERY = {"sql": "select 1", "scope": {"principal": ALICE}}
KEY = "usher_" + "k" * 43
ID = "spiffe://example.org/gateway"


def known(*identities: CallerIdentity, anonymous: bool = False) -> tuple[Callers, Recorder]:
    """Callers by any proof but a token."""
    refusals = Recorder()
    callers = Callers({}, (CertificateProof(FakeClock(time.time())), ProcessProof(), KeyProof()), refusals)
    callers.configure(Directory(identities), anonymous=anonymous)
    return callers, refusals


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_a_bearer_key_is_its_callers_and_another_is_refused() -> None:
    callers, refusals = known(CallerIdentity(name="robot", key_hashes=(digest(KEY),)))
    async with running(callers=callers) as there:
        assert (await there.call(ISSUE, ALICE, authorization=f"Bearer {KEY}")).status == 200
        (event,) = there.parts.seen.of(RpcFinished)
        assert event.caller == "robot"
        for headers in ({}, {"authorization": "Bearer usher_other"}, {"authorization": KEY}):
            answer = await there.call(ISSUE, ALICE, **headers)
            assert (answer.status, answer.reason) == (401, "CALLER_UNAUTHENTICATED")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert len(refusals.of(CallerRefused)) == 3


async def test_two_authorizations_are_refused() -> None:
    callers, _ = known(CallerIdentity(name="robot", key_hashes=(digest(KEY),)))
    async with running(callers=callers) as there:
        client = await there.client()
        pair = [("authorization", f"Bearer {KEY}")] * 2
        await client.send(f"/{ISSUE}", b"{}", headers=[("content-type", "application/json"), *pair])
        assert (await client.answer()).status == 401


async def test_anonymous_callers_come_in_only_where_the_door_takes_them() -> None:
    callers, _ = known(anonymous=True)
    async with running(callers=callers) as there:
        assert (await there.call(ISSUE, ALICE)).status == 200
    async with running(callers=callers, door=Door(takes_anonymous=False)) as there:
        assert (await there.call(ISSUE, ALICE)).status == 401


async def test_the_process_at_the_other_end_of_a_unix_socket_is_known(tmp_path: Path) -> None:
    path = tmp_path / "usher.sock"
    callers, _ = known(CallerIdentity(name="local", uids=(os.geteuid(),)))
    async with running(f"unix:{path}", callers=callers, mode=0o660) as there:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await there.call(ISSUE, ALICE)).status == 200
        (event,) = there.parts.seen.of(RpcFinished)
        assert (event.caller, event.identity) == ("local", f"uid {os.geteuid()} gid {os.getegid()}")
    assert not path.exists()


async def test_a_socket_that_a_killed_process_left_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/usher.sock"
    async with running(address) as there:
        with pytest.raises(SettingsError, match="another process"):
            async with running(address):
                pass
        assert (await there.call(ISSUE, ALICE)).status == 200
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "usher.sock"))
    async with running(address) as there:
        assert (await there.call(ISSUE, ALICE)).status == 200


async def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    async with running() as there:
        with pytest.raises(SettingsError, match="connect_address: cannot listen on 127"):
            async with running(there.listener.address):
                pass


def paths(folder: Path, server: Any = SERVER, client_ca: Any = None) -> TlsPaths:
    (folder / "cert.pem").write_bytes(server.pem)
    (folder / "key.pem").write_bytes(server.key_pem)
    if client_ca is not None:
        (folder / "ca.pem").write_bytes(client_ca.pem)
    return TlsPaths(
        cert=folder / "cert.pem",
        key=folder / "key.pem",
        client_ca=folder / "ca.pem" if client_ca is not None else None,
    )


def trusting(folder: Path, authority: Any = CA, own: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.check_hostname = False
    if own is not None:
        (folder / "own.pem").write_bytes(own.pem + own.key_pem)
        context.load_cert_chain(folder / "own.pem")
    return context


async def test_a_client_certificate_is_its_callers(tmp_path: Path) -> None:
    callers, _ = known(CallerIdentity(name="gateway", spiffe_ids=(ID,)))
    own = certificates.client(CA, uris=[ID])
    async with running(
        callers=callers, tls=paths(tmp_path, client_ca=CA), client_tls=trusting(tmp_path, own=own)
    ) as there:
        answer = await there.call(ISSUE, ALICE)
        assert answer.status == 200, answer.body
        (event,) = there.parts.seen.of(RpcFinished)
        assert (event.caller, event.identity) == ("gateway", ID)


async def test_without_a_certificate_that_the_authority_signed_nobody_comes_in(tmp_path: Path) -> None:
    for own in (None, certificates.client(OTHER_CA, uris=[ID])):
        async with running(
            tls=paths(tmp_path, client_ca=CA), client_tls=trusting(tmp_path, own=own)
        ) as there:
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await there.call(ISSUE, ALICE)


async def test_new_connections_get_the_new_certificate_and_old_ones_go_on(tmp_path: Path) -> None:
    async with running(tls=paths(tmp_path), client_tls=trusting(tmp_path)) as there:
        before = await there.client()
        assert (await before.call(ISSUE, ALICE)).status == 200
        other = certificates.server(OTHER_CA)
        paths(tmp_path, other)
        await there.listener.renew()
        with pytest.raises(ssl.SSLError):
            await there.client()
        there.tls = trusting(tmp_path, OTHER_CA)
        assert (await there.call(ISSUE, ALICE)).status == 200
        assert (await before.call(ISSUE, ALICE)).status == 200


async def test_tls_1_1_is_not_spoken(tmp_path: Path) -> None:
    async with running(tls=paths(tmp_path)) as there:
        old = trusting(tmp_path)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        there.tls = old
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await there.client()


async def test_a_call_in_flight_ends_while_draining_and_idle_connections_close() -> None:
    async with running() as there:
        idle, busy = await there.client(), await there.client()
        assert (await idle.call(ISSUE, ALICE)).status == 200
        there.parts.backend.released.clear()
        call = asyncio.ensure_future(busy.call(RUN, QUERY))
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        there.calls.refuse_new()
        stopping = asyncio.ensure_future(there.listener.stop(PATIENCE))
        assert await asyncio.wait_for(idle.reader.read(), PATIENCE) == b""
        with pytest.raises(OSError, match=r"."):
            await there.client()
        there.parts.backend.released.set()
        answer = await call
        assert (answer.status, answer.closed) == (200, True)
        await asyncio.wait_for(stopping, PATIENCE)


async def test_a_stop_drops_what_does_not_end() -> None:
    async with running() as there:
        there.parts.backend.released.clear()
        call = asyncio.ensure_future(there.call(RUN, QUERY))
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        await there.listener.stop(0)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await call
        await asyncio.wait_for(there.parts.backend.cancelled.wait(), PATIENCE)


async def test_one_connection_too_many_closes_the_one_that_is_idle_longest() -> None:
    async with running(max_connections=2) as there:
        first, second = await there.client(), await there.client()
        for client in (second, first):
            assert (await client.call(ISSUE, ALICE)).status == 200
        assert (await there.call(ISSUE, ALICE)).status == 200
        assert (await first.call(ISSUE, ALICE)).status == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await second.call(ISSUE, ALICE)


async def test_connections_in_use_are_never_closed_for_a_new_one() -> None:
    async with running(max_connections=1) as there:
        there.parts.backend.released.clear()
        call = asyncio.ensure_future(there.call(RUN, QUERY))
        await asyncio.wait_for(there.parts.backend.started.wait(), PATIENCE)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await there.call(ISSUE, ALICE)
        there.parts.backend.released.set()
        assert (await call).status == 200
