"""TLS on real handshakes: versions, client certificates, files that change and files that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from sidecar.core.errors import SettingsError
from sidecar.core.events import TlsLoaded
from sidecar.rpc.tls import Tls, TlsFiles
from tests import certificates
from tests.certificates import Certified
from tests.fakes import FakeClock, Recorder
from tests.rpc.running import PATIENCE

CA = certificates.authority()
OTHER_CA = certificates.authority("another authority")
SERVER = certificates.server(CA)
CLIENT = certificates.client(CA, uris=["spiffe://example.org/a"])
HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Served:
    """A gRPC server with TLS."""

    address: str
    files: TlsFiles
    tls: Tls
    clock: FakeClock
    seen: Recorder

    def channel(self, trusted: Certified = CA, own: Certified | None = None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            trusted.pem, own.key_pem if own else None, own.pem if own else None
        )
        options = (("grpc.use_local_subchannel_pool", 1),)
        return grpc.aio.secure_channel(self.address, credentials, options=options)

    async def ask(self, trusted: Certified = CA, own: Certified | None = None) -> str:
        """The code of one call on a connection of its own."""
        async with self.channel(trusted, own) as channel:
            try:
                await echo(channel)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return "OK"

    def shown(self) -> x509.Certificate:
        """The certificate that a new client sees. Blocks."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        return x509.load_der_x509_certificate(self._handshake(context)[1])

    def version(self, version: ssl.TLSVersion) -> str:
        """What comes of a handshake in this version alone. Blocks."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.set_alpn_protocols(["h2"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        try:
            return self._handshake(context)[0]
        except (ssl.SSLError, ConnectionError):
            return "refused"

    def _handshake(self, context: ssl.SSLContext) -> tuple[str, bytes]:
        host, _, port = self.address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), PATIENCE) as plain,
            context.wrap_socket(plain) as tls,
        ):
            return tls.version() or "", tls.getpeercert(binary_form=True) or b""


async def echo(channel: grpc.aio.Channel) -> None:
    call: Any = channel.unary_unary("/x.X/Echo")
    assert await call(b"hello", timeout=PATIENCE) == b"hello"


def written(folder: Path, made: Certified = SERVER, client_ca: bytes | None = None) -> TlsFiles:
    cert, key = made.write(folder, "server")
    authority = folder / "client-ca.pem"
    if client_ca is not None:
        authority.write_bytes(client_ca)
    return TlsFiles(cert=cert, key=key, client_ca=authority if client_ca is not None else None)


@contextlib.asynccontextmanager
async def served(files: TlsFiles) -> AsyncIterator[Served]:
    clock, seen = FakeClock(datetime.datetime.now(datetime.UTC).timestamp()), Recorder()
    tls = Tls(files, clock, seen)

    async def handle(data: bytes, context: Any) -> bytes:
        return data

    async def stream(data: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            yield data
            await asyncio.sleep(0.01)

    server = grpc.aio.server()
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(handle),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.X", methods),))
    port = server.add_secure_port("127.0.0.1:0", tls.credentials())
    await server.start()
    looking = asyncio.create_task(tls.run())
    try:
        yield Served(f"127.0.0.1:{port}", files, tls, clock, seen)
    finally:
        looking.cancel()
        await server.stop(0)


async def looked(there: Served) -> list[TlsLoaded]:
    """The events of the next look at the files."""
    there.seen.events.clear()
    await there.clock.advance(1.0)
    for _ in range(500):
        if there.seen.events:
            break
        await asyncio.sleep(0.005)  # a thread reads them
        await there.clock.settle()
    return there.seen.of(TlsLoaded)


# --- handshakes ---


def speaks(version: ssl.TLSVersion, tmp_path: Path) -> bool:
    """Whether this machine's own TLS can do this version, against a server that takes it."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts[0].check_hostname, contexts[0].verify_mode = False, ssl.CERT_NONE
    contexts[1].load_cert_chain(*SERVER.write(tmp_path, "old"))
    for context in contexts:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    ways = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(ways[0], ways[1])
    server = contexts[1].wrap_bio(ways[1], ways[0], server_side=True)
    for _ in range(5):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.version() is not None and client.version() == server.version()


def test_the_client_of_these_tests_could_speak_old_versions(tmp_path: Path) -> None:
    """Else a refusal below would prove nothing."""
    assert speaks(ssl.TLSVersion.TLSv1_1, tmp_path)


@pytest.mark.parametrize("client_ca", [None, CA.pem])
async def test_only_tls_1_2_and_1_3_are_spoken(tmp_path: Path, client_ca: bytes | None) -> None:
    async with served(written(tmp_path, client_ca=client_ca)) as there:
        results = {
            version.name: await asyncio.to_thread(there.version, version)
            for version in (
                ssl.TLSVersion.TLSv1,
                ssl.TLSVersion.TLSv1_1,
                ssl.TLSVersion.TLSv1_2,
                ssl.TLSVersion.TLSv1_3,
            )
        }
    # Without a certificate TLS 1.2 ends in the handshake, TLS 1.3 after it.
    second = "TLSv1.2" if client_ca is None else "refused"
    assert results == {"TLSv1": "refused", "TLSv1_1": "refused", "TLSv1_2": second, "TLSv1_3": "TLSv1.3"}


async def test_without_client_authorities_nobody_is_asked(tmp_path: Path) -> None:
    async with served(written(tmp_path)) as there:
        assert not there.tls.asks_for_certificates
        assert await there.ask() == "OK"
        assert await there.ask(own=CLIENT) == "OK"
        assert await there.ask(trusted=OTHER_CA) == "UNAVAILABLE"


async def test_with_client_authorities_every_client_needs_a_certificate(tmp_path: Path) -> None:
    async with served(written(tmp_path, client_ca=CA.pem)) as there:
        assert there.tls.asks_for_certificates
        assert await there.ask(own=CLIENT) == "OK"
        assert await there.ask() == "UNAVAILABLE"
        names = {"uris": ["spiffe://example.org/a"]}
        for wrong in (
            certificates.client(OTHER_CA, **names),
            certificates.client(CA, **names, ends=-HOUR),
            SERVER,  # not for clients
        ):
            assert await there.ask(own=wrong) == "UNAVAILABLE"


async def test_plain_text_is_not_understood(tmp_path: Path) -> None:
    async with served(written(tmp_path)) as there, grpc.aio.insecure_channel(there.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# --- files that change ---


async def test_a_new_certificate_is_shown_to_new_clients_and_the_others_go_on(tmp_path: Path) -> None:
    async with served(written(tmp_path)) as there, there.channel() as channel:
        stream: Any = channel.unary_stream("/x.X/Stream")(b"tick")
        assert await stream.read() == b"tick"
        assert await asyncio.to_thread(there.shown) == SERVER.certificate

        fresh = certificates.server(CA, "fresh", ends=3 * certificates.DAY)
        fresh.write(tmp_path, "server")
        (event,) = await looked(there)
        assert event == TlsLoaded(
            outcome="loaded", expires_at=fresh.certificate.not_valid_after_utc.timestamp()
        )
        assert await asyncio.to_thread(there.shown) == fresh.certificate
        assert await asyncio.to_thread(there.shown) == fresh.certificate
        # The old connection is the same one: neither its stream nor its calls noticed.
        for _ in range(5):
            assert await stream.read() == b"tick"
        await echo(channel)
        stream.cancel()


async def test_an_authority_that_is_taken_away_lets_nobody_new_in(tmp_path: Path) -> None:
    async with served(written(tmp_path, client_ca=CA.pem)) as there:
        assert await there.ask(own=CLIENT) == "OK"
        assert there.files.client_ca is not None
        there.files.client_ca.write_bytes(OTHER_CA.pem)
        await looked(there)
        assert await there.ask(own=CLIENT) == "UNAVAILABLE"
        assert await there.ask(own=certificates.client(OTHER_CA, dns=["a.example"])) == "OK"


async def test_two_listeners_both_get_the_new_certificate(tmp_path: Path) -> None:
    async with served(written(tmp_path)) as there:
        server = grpc.aio.server()
        port = server.add_secure_port("127.0.0.1:0", there.tls.credentials())
        await server.start()
        second = Served(f"127.0.0.1:{port}", there.files, there.tls, there.clock, there.seen)
        fresh = certificates.server(CA, "fresh")
        fresh.write(tmp_path, "server")
        await looked(there)
        for each in (there, second):
            assert await asyncio.to_thread(each.shown) == fresh.certificate
        await server.stop(0)


async def test_files_that_stay_are_not_read_again(tmp_path: Path) -> None:
    async with served(written(tmp_path)) as there:
        there.seen.events.clear()
        for _ in range(3):
            await there.clock.advance(1.0)
        await asyncio.sleep(0.05)
        assert there.seen.events == []


@pytest.mark.parametrize("broken", ["key of another", "empty", "gone", "expired", "half", "no authority"])
async def test_broken_new_files_change_nothing_and_say_so(tmp_path: Path, broken: str) -> None:
    async with served(written(tmp_path, client_ca=CA.pem)) as there:
        assert there.files.client_ca is not None
        if broken == "key of another":
            there.files.key.write_bytes(certificates.server(CA).key_pem)
        elif broken == "empty":
            there.files.cert.write_bytes(b"")
        elif broken == "gone":
            there.files.key.unlink()
        elif broken == "expired":
            certificates.server(CA, ends=-HOUR).write(tmp_path, "server")
        elif broken == "half":
            there.files.cert.write_bytes(SERVER.pem[:200])
        else:
            there.files.client_ca.write_text("nothing")
        (event,) = await looked(there)
        assert event.outcome == "refused"
        assert event.expires_at == SERVER.certificate.not_valid_after_utc.timestamp()
        assert "tls_client_ca_file" in event.detail or broken != "no authority"
        assert event.detail.startswith("tls_")
        assert await there.ask(own=CLIENT) == "OK"

        fresh = certificates.server(CA, "fresh")
        written(tmp_path, fresh, CA.pem)
        (event,) = await looked(there)
        assert event.outcome == "loaded"
        assert await there.ask(own=CLIENT) == "OK"


async def test_a_renewal_in_two_steps_ends_with_the_new_pair(tmp_path: Path) -> None:
    """As some tools write: first one file, later the other."""
    fresh = certificates.server(CA, "fresh")
    async with served(written(tmp_path)) as there:
        there.files.cert.write_bytes(fresh.pem)
        (event,) = await looked(there)
        assert event.outcome == "refused"
        assert await asyncio.to_thread(there.shown) == SERVER.certificate
        there.files.key.write_bytes(fresh.key_pem)
        (event,) = await looked(there)
        assert event.outcome == "loaded"
        assert await asyncio.to_thread(there.shown) == fresh.certificate


async def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes replaces a secret."""
    fresh = certificates.server(CA, "fresh")
    for name, made in (("one", SERVER), ("two", fresh)):
        (tmp_path / name).mkdir()
        made.write(tmp_path / name, "server")
    (tmp_path / "now").symlink_to("one")
    files = TlsFiles(cert=tmp_path / "now/server.pem", key=tmp_path / "now/server.key")
    async with served(files) as there:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "now")
        await looked(there)
        assert await asyncio.to_thread(there.shown) == fresh.certificate


# --- the first look ---


def refusal(files: TlsFiles) -> str:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    with pytest.raises(SettingsError) as caught:
        Tls(files, FakeClock(now), Recorder())
    assert "BEGIN" not in str(caught.value)
    return str(caught.value)


def test_what_the_start_refuses(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert "tls_key_file: it is not the key" in refusal(
        TlsFiles(cert=files.cert, key=certificates.server(CA).write(tmp_path, "other")[1])
    )
    assert "cannot be read (No such file" in refusal(TlsFiles(cert=tmp_path / "none", key=files.key))
    assert "holds nothing such in PEM" in refusal(TlsFiles(cert=files.key, key=files.key))
    assert "holds nothing such in PEM" in refusal(TlsFiles(cert=files.cert, key=files.cert))
    assert "tls_client_ca_file" in refusal(TlsFiles(cert=files.cert, key=files.key, client_ca=files.key))
    expired = certificates.server(CA, ends=-HOUR).write(tmp_path, "expired")
    assert "has expired" in refusal(TlsFiles(cert=expired[0], key=expired[1]))


@pytest.mark.parametrize("kind", ["ed25519", "small", "encrypted"])
def test_keys_that_are_refused(tmp_path: Path, kind: str) -> None:
    files = written(tmp_path)
    private: Any = SERVER.private
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if kind == "ed25519":
        private, expected = ed25519.Ed25519PrivateKey.generate(), "an RSA or an elliptic curve key"
    elif kind == "small":
        private, expected = rsa.generate_private_key(65537, 1024), "at least 2048 bits"
    else:
        protection, expected = serialization.BestAvailableEncryption(b"hunter2"), "or under a password"
    files.key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    assert expected in refusal(files)
