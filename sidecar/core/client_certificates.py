"""Who a client certificate speaks for: its SPIFFE ID, or its DNS names.

The chain was verified by TLS; here only the leaf is read. A certificate with a SPIFFE ID is an X.509-SVID and
held to its standard (SPIFFE X509-SVID, sections 2 to 5): exactly one URI, a leaf, no right to sign others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from sidecar.core.callers import Proof, unproven
from sidecar.core.errors import UsherError

LONGEST_SPIFFE_ID: Final = 2048
"""Bytes (SPIFFE-ID section 2.3)."""

_SPIFFE: Final = "spiffe://"
# Trust domain and path segments (SPIFFE-ID sections 2.1 and 2.2); a leaf's path is never empty.
_SPIFFE_ID: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedNames:
    """The names in a client certificate. `expires_at` is in seconds since 1970."""

    spiffe_id: str
    dns_names: tuple[str, ...]
    expires_at: float


def certified_names(pem: bytes) -> CertifiedNames:
    """The names in a leaf certificate. Raises UsherError for one that no caller may use."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = _alternative_names(certificate)
        spiffe_id = _spiffe_id(names.get_values_for_type(x509.UniformResourceIdentifier) if names else [])
        dns_names = tuple(names.get_values_for_type(x509.DNSName)) if names else ()
        may_sign = _may_sign(certificate)
        expires_at = certificate.not_valid_after_utc.timestamp()
    except (ValueError, TypeError, x509.DuplicateExtension):
        # Extensions are read late, and what is wrong in them shows late.
        raise _refused("it cannot be read") from None
    if may_sign:
        raise _refused("it may sign other certificates; a caller needs a leaf certificate")
    if not spiffe_id and not dns_names:
        raise _refused("it has neither a SPIFFE ID nor a DNS name; both stand in subjectAltName")
    return CertifiedNames(spiffe_id=spiffe_id, dns_names=dns_names, expires_at=expires_at)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _spiffe_id(uris: list[str]) -> str:
    """The one SPIFFE ID among the URIs; empty for none."""
    # Compared without case, so that `SPIFFE://` is a wrong SPIFFE ID and not another kind of URI.
    if not any(uri.lower().startswith(_SPIFFE) for uri in uris):
        return ""
    if len(uris) > 1:
        raise _refused("it has several URIs; an X.509-SVID has exactly one")
    if len(uris[0]) > LONGEST_SPIFFE_ID or not _SPIFFE_ID.match(uris[0]):
        raise _refused("its SPIFFE ID is not one of a workload: spiffe://trust-domain/path")
    return uris[0]


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is an authority, by basic constraints or key usage (X509-SVID section 4)."""
    extensions = certificate.extensions
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            return True
        if isinstance(extension.value, x509.KeyUsage) and (
            extension.value.key_cert_sign or extension.value.crl_sign
        ):
            return True
    return False


def _refused(why: str) -> UsherError:
    return unproven(f"client certificate: {why}", Proof.MTLS)
