"""TLS for gRPC: certificate, key and client authorities from files, read again when they change.

gRPC speaks TLS 1.2 and 1.3 only. New connections get the new certificate, those that are there go on. gRPC
for Python knows two ways with client certificates: without `client_ca` none is asked for, with it each client
must have one that the authorities in the file have signed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError
from sidecar.core.events import Observer, TlsLoaded

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""Between two looks at the files."""
MIN_RSA_BITS: Final = 2048

Signature = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the material is: PEM files. `client_ca` is None when clients show no certificate."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    key: bytes
    chain: bytes
    client_ca: bytes | None
    expires_at: float

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Made anew for each use: gRPC takes what it is given."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_ca)


class Tls:
    """The material in force. `run` replaces it when the files change; a broken new one changes nothing."""

    def __init__(self, files: TlsFiles, clock: Clock, observer: Observer) -> None:
        """Reads the files. Raises SettingsError naming the setting whose file is wrong."""
        self._files = files
        self._clock = clock
        self._observer = observer
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        # Before reading: what changes meanwhile is read again.
        self._signature = _signature(files)
        self._material = _read(files, clock.now())
        self._report("loaded")

    @property
    def asks_for_certificates(self) -> bool:
        """Whether every client must have a certificate."""
        return self._files.client_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for one listener, which follow the material in force."""
        given = self._material

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # gRPC asks in each handshake, on a thread of its own.
            nonlocal given
            current = self._material
            if current is given:
                return None
            given = current
            return current.configuration()

        return grpc.dynamic_ssl_server_credentials(
            given.configuration(),
            fetch,  # type: ignore[arg-type]  # None is documented: no change
            require_client_authentication=self.asks_for_certificates,
        )

    def on_change(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Has a listener called when other material is in force. It raises OSError when it cannot follow."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Looks at the files each second, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            signature = _signature(self._files)
            if signature != self._signature:
                self._signature = signature
                await self._load()

    async def _load(self) -> None:
        try:
            self._material = await asyncio.to_thread(_read, self._files, self._clock.now())
            for listener in self._listeners:
                await listener()
        except Exception as error:
            # Whatever is wrong with the files: the material in force is still a good one.
            self._report("refused", str(error) if isinstance(error, SettingsError) else type(error).__name__)
        else:
            self._report("loaded")

    def _report(self, outcome: str, detail: str = "") -> None:
        self._observer(TlsLoaded(outcome=outcome, expires_at=self._material.expires_at, detail=detail))


def _read(files: TlsFiles, now: float) -> _Material:
    """The material, checked: gRPC itself would only fail in each handshake. Raises SettingsError."""
    chain, key = _bytes("tls_cert_file", files.cert), _bytes("tls_key_file", files.key)
    leaf = _parsed("tls_cert_file", files.cert, lambda: x509.load_pem_x509_certificates(chain)[0])
    private = _parsed("tls_key_file", files.key, lambda: load_pem_private_key(key, None))
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SettingsError(f"tls_key_file: {files.key} must hold an RSA or an elliptic curve key")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < MIN_RSA_BITS:
        raise SettingsError(f"tls_key_file: an RSA key needs at least {MIN_RSA_BITS} bits")
    if private.public_key() != _parsed("tls_cert_file", files.cert, leaf.public_key):
        raise SettingsError("tls_key_file: it is not the key of the first certificate in tls_cert_file")
    expires_at = leaf.not_valid_after_utc.timestamp()
    if now >= expires_at:
        raise SettingsError(f"tls_cert_file: the certificate in {files.cert} has expired")
    client_ca = None
    if files.client_ca is not None:
        path, client_ca = files.client_ca, _bytes("tls_client_ca_file", files.client_ca)
        authorities = client_ca
        _parsed("tls_client_ca_file", path, lambda: x509.load_pem_x509_certificates(authorities)[0])
    return _Material(key=key, chain=chain, client_ca=client_ca, expires_at=expires_at)


def _bytes(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {path} cannot be read ({error.strerror})") from None


def _parsed(setting: str, path: Path, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError: the key is encrypted.
        raise SettingsError(f"{setting}: {path} holds nothing such in PEM, or under a password") from None


def _signature(files: TlsFiles) -> Signature:
    """What changes when a file does. Follows links, as Kubernetes' secrets have them."""
    return tuple(_of(path) for path in (files.cert, files.key, files.client_ca) if path is not None)


def _of(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
