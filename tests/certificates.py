"""Real certificates for tests: authorities, servers and clients."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certified:
    """A certificate and its key."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """The files of certificate and key."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_bytes(self.pem)
        paths[1].write_bytes(self.key_pem)
        return paths


def authority(name: str = "test authority") -> Certified:
    """A new authority."""
    return _made(name, None, [x509.BasicConstraints(ca=True, path_length=None)], -DAY, DAY)


def server(issuer: Certified, name: str = "server", *, ends: datetime.timedelta = DAY) -> Certified:
    """A certificate for localhost and 127.0.0.1."""
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _made(name, issuer, [x509.SubjectAlternativeName(names), usage], -2 * DAY, ends)


def client(
    issuer: Certified,
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    ends: datetime.timedelta = DAY,
    extensions: Sequence[x509.ExtensionType] = (),
) -> Certified:
    """A client's certificate with these names."""
    names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(name) for name in dns]
    found: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), *extensions]
    if names:
        found.append(x509.SubjectAlternativeName(names))
    return _made("client", issuer, found, -2 * DAY, ends)


def _made(
    name: str,
    issuer: Certified | None,
    extensions: Sequence[x509.ExtensionType],
    begins: datetime.timedelta,
    ends: datetime.timedelta,
) -> Certified:
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    signed = builder.sign(issuer.private if issuer else private, hashes.SHA256())
    return Certified(signed, private)
