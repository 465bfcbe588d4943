"""The TLS of a listener: its versions, and who must show a certificate (handshakes: test_server.py)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from sidecar.connect.tls import TlsPaths
from tests import certificates

CA = certificates.authority()
SERVER = certificates.server(CA)


def paths(folder: Path, *, key: bytes = SERVER.key_pem, client_ca: bool = False) -> TlsPaths:
    for name, data in (("cert", SERVER.pem), ("key", key), ("ca", CA.pem)):
        (folder / name).write_bytes(data)
    return TlsPaths(cert=folder / "cert", key=folder / "key", client_ca=folder / "ca" if client_ca else None)


def test_a_certificate_is_asked_for_only_with_authorities(tmp_path: Path) -> None:
    assert paths(tmp_path).context().verify_mode is ssl.CERT_NONE
    assert paths(tmp_path, client_ca=True).context().verify_mode is ssl.CERT_REQUIRED
    assert paths(tmp_path).context().minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        paths(tmp_path, key=certificates.server(CA).key_pem).context()
