"""Client verbs over TLS and with keys, against a sidecar that asks for them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.callers import CallerIdentity, Directory
from sidecar.rpc.doors import Door
from sidecar.rpc.tls import Tls, TlsFiles
from sidecar.services.access import Listener
from sidecar.services.callers import Callers
from sidecar.services.proofs import CertificateProof, KeyProof
from tests import certificates
from tests.cli.conftest import Sidecar, Usher, serving
from tests.fakes import FakeClock, Recorder

CA = certificates.authority()
SERVER = certificates.server(CA)
KEY = "usher_" + "k" * 43
ID = "spiffe://example.org/gateway"
CALLERS = Directory(
    (
        CallerIdentity(name="robot", key_hashes=(hashlib.sha256(KEY.encode()).hexdigest(),)),
        CallerIdentity(name="gateway", spiffe_ids=(ID,)),
    )
)
ISSUE = ("token", "issue", "--sub", "alice", "--address")


def serving_callers(folder: Path, *, tls: bool, client_ca: bool = False) -> Iterator[Sidecar]:
    door = Door()
    if tls:
        cert, key = SERVER.write(folder, "server")
        (folder / "ca.pem").write_bytes(CA.pem)
        files = TlsFiles(cert=cert, key=key, client_ca=folder / "ca.pem" if client_ca else None)
        door = Door(tls=Tls(files, FakeClock(time.time()), Recorder()))
    doors = {Listener.DATA: door, Listener.ADMIN: Door()}
    callers = Callers(doors, (CertificateProof(FakeClock(time.time())), KeyProof()), Recorder())
    callers.configure(CALLERS, anonymous=False)
    with serving(f"unix:{folder}/admin.sock", callers=callers, door=door) as there:
        yield there


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Sidecar]:
    yield from serving_callers(tmp_path, tls=False)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Sidecar]:
    yield from serving_callers(tmp_path, tls=True)


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[Sidecar]:
    yield from serving_callers(tmp_path, tls=True, client_ca=True)


def test_a_key_from_the_environment_or_an_option(
    usher: Usher, plain: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = usher(*ISSUE, plain.address)
    assert refused.code == 1
    assert refused.err.startswith("usher: UNAUTHENTICATED CALLER_UNAUTHENTICATED: callers are configured")
    assert usher(*ISSUE, plain.address, "--key", KEY).code == 0
    monkeypatch.setenv("USHER_KEY", KEY)
    assert usher(*ISSUE, plain.address).code == 0
    assert usher(*ISSUE, plain.address, "--key", KEY + "x").code == 1


def test_a_key_over_tls(usher: Usher, secure: Sidecar, tmp_path: Path) -> None:
    trusted = ("--tls-ca", str(tmp_path / "ca.pem"))
    done = usher(*ISSUE, secure.address, *trusted, "--key", KEY)
    assert (done.code, done.err) == (0, "")
    assert usher("health", "--address", secure.address, *trusted).out == "SERVING\n"
    # Without TLS, and with another authority, nothing comes of it, and the reason is named.
    (tmp_path / "other.pem").write_bytes(certificates.authority().pem)
    for options in ((), ("--tls-ca", str(tmp_path / "other.pem"))):
        failed = usher(*ISSUE, secure.address, *options, "--key", KEY)
        assert failed.code == 1
        assert "compare TLS on both sides; --tls-ca must hold" in failed.err


def test_a_client_certificate(usher: Usher, mutual: Sidecar, tmp_path: Path) -> None:
    cert, key = certificates.client(CA, uris=[ID]).write(tmp_path, "client")
    trusted = ("--tls-ca", str(tmp_path / "ca.pem"))
    assert usher(*ISSUE, mutual.address, *trusted, "--tls-cert", str(cert), "--tls-key", str(key)).code == 0
    without = usher(*ISSUE, mutual.address, *trusted)
    assert without.code == 1
    assert "it may ask for --tls-cert" in without.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--tls-cert", "a", "--tls-ca", "b"), "--tls-cert and --tls-key: give both"),
        (("--tls-key", "a", "--tls-ca", "b"), "--tls-cert and --tls-key: give both"),
        (("--tls-cert", "a", "--tls-key", "a"), "--tls-cert needs --tls-ca or --tls"),
        (("--tls-ca", "/nowhere/ca.pem"), "--tls-ca: /nowhere/ca.pem cannot be read"),
        (("--address", " "), "--address: write host:port"),
        (("--key", "hunter2\n"), "--key or USHER_KEY: it holds characters"),
        (("--key", "hunter2", "--address", "192.0.2.1:1"), "--key is sent to another machine by TLS only"),
        (("--key", "hunter2", "--address", "db.example:1"), "--key is sent to another machine by TLS only"),
    ],
)
def test_options_that_do_not_go_together(usher: Usher, options: tuple[str, ...], expected: str) -> None:
    done = usher("token", "issue", "--sub", "alice", *options)
    assert done.code == 2
    assert expected in done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize("verb", [ISSUE, ("health", "--address")])
def test_a_misspelt_variable_is_an_error(
    usher: Usher, plain: Sidecar, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """A key under a wrong name would make an anonymous call of it."""
    monkeypatch.setenv("USHER_KYE", "hunter2")
    done = usher(*verb, plain.address)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == "usher: environment variable USHER_KYE: nothing has this name; did you mean USHER_KEY?\n"
    )
    monkeypatch.delenv("USHER_KYE")
    monkeypatch.setenv("USHER_GRPC_ADRESS", "x")
    assert "did you mean USHER_GRPC_ADDRESS?" in usher(*verb, plain.address).err
    monkeypatch.delenv("USHER_GRPC_ADRESS")
    for known in ("USHER_CONFIG", "USHER_MAX_ROWS", "USHER_TEST_SLOW", "USHER_ADMIN_DATABASE_URL"):
        monkeypatch.setenv(known, "x")
    assert "environment" not in usher(*verb, plain.address).err
