"""The proofs of callers: client certificate, process, service-account token, bearer key. One class each."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Final

from sidecar.core.callers import KEY_PREFIX, Caller, CallerIdentity, Directory, Proof, unproven
from sidecar.core.client_certificates import certified_names
from sidecar.core.clock import Clock
from sidecar.core.service_tokens import ServiceToken, kid_of, verify
from sidecar.core.trusted_keys import TrustedKey
from sidecar.services.callers import Facts
from sidecar.services.issuer_keys import IssuerKeys

_MOST_REMEMBERED: Final = 1024
"""Certificates, and tokens, that need not be read again."""
_SHOWN_OF_HASH: Final = 8


class CertificateProof:
    """A client certificate with a SPIFFE ID, or else a DNS name, of a caller."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Its connection sends the same one with each call.
        self._names = functools.lru_cache(maxsize=_MOST_REMEMBERED)(certified_names)

    async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
        """As Authenticator. Where no caller has such a name, certificates only open the connection."""
        if facts.certificate is None or Proof.MTLS not in directory.provable:
            return None
        names = self._names(facts.certificate)
        # TLS looked when the connection was made, which may be long ago.
        if self._clock.now() >= names.expires_at:
            raise unproven("client certificate: it has expired; connect again with a new one", Proof.MTLS)
        if names.spiffe_id:
            known = directory.by_spiffe_id(names.spiffe_id)
            if known is None:
                raise unproven("client certificate: its SPIFFE ID is no caller's", Proof.MTLS)
            return _caller(known, Proof.MTLS, names.spiffe_id, {"spiffe_id": names.spiffe_id})
        known = directory.by_dns_names(names.dns_names)
        if known is None:
            raise unproven("client certificate: its DNS names are not those of one caller", Proof.MTLS)
        name = next(name for name in names.dns_names if directory.by_dns_names((name,)) is known)
        return _caller(known, Proof.MTLS, name, {"dns": name})


class ProcessProof:
    """User and group of the process at the other end of a Unix socket, as the kernel knows them.

    Every process has them: where they are no caller's, nothing was offered.
    """

    async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
        """As Authenticator."""
        if facts.process is None:
            return None
        uid, gid = facts.process.uid, facts.process.gid
        known = directory.by_process(uid, gid)
        if known is None:
            return None
        attributes = {"uid": str(uid), "gid": str(gid)}
        return _caller(known, Proof.UNIX, f"uid {uid} gid {gid}", attributes)


class TokenProof:
    """A service-account token of the configured issuer. `keys` is None where none is configured."""

    def __init__(self, keys: IssuerKeys | None, issuer: str, audience: str, clock: Clock) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: dict[bytes, tuple[TrustedKey, ServiceToken]] = {}

    async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
        """As Authenticator."""
        compact = _bearer(facts)
        if compact is None or compact.startswith(KEY_PREFIX):
            return None
        if self._keys is None:
            raise unproven(
                "authorization: this sidecar takes no service-account tokens; set caller_token_issuer",
                Proof.JWT,
            )
        token = await self._verify(self._keys, compact)
        known = directory.by_service_account(token.issuer, token.subject)
        if known is None:
            raise unproven("authorization: the token holds, but its subject is no caller's", Proof.JWT)
        return _caller(known, Proof.JWT, token.subject, token.attributes)

    async def _verify(self, keys: IssuerKeys, compact: str) -> ServiceToken:
        digest = hashlib.sha256(compact.encode()).digest()
        found = self._verified.get(digest)
        if found is not None:
            key, token = found
            # A key that its issuer has taken back verifies nothing more.
            if self._clock.now() < token.expires_at and keys.known(key.kid) is key:
                return token
            del self._verified[digest]
        key = await keys.find(kid_of(compact))
        token = verify(compact, key, issuer=self._issuer, audience=self._audience, now=self._clock.now())
        if len(self._verified) >= _MOST_REMEMBERED:
            self._verified.clear()
        self._verified[digest] = key, token
        return token


class KeyProof:
    """A static bearer key, of which only the hash is known here."""

    async def authenticate(self, facts: Facts, directory: Directory) -> Caller | None:
        """As Authenticator."""
        key = _bearer(facts)
        if key is None or not key.startswith(KEY_PREFIX):
            return None
        found = directory.by_key(key)
        if found is None:
            raise unproven("authorization: the key is no caller's", Proof.KEY)
        known, digest = found
        return _caller(known, Proof.KEY, f"key {digest[:_SHOWN_OF_HASH]}", {})


def _bearer(facts: Facts) -> str | None:
    """The credential in `authorization: Bearer ...` (RFC 6750 section 2.1). Raises UsherError for another."""
    if not facts.authorization:
        return None
    value = facts.authorization[0]
    if len(facts.authorization) > 1 or not isinstance(value, str):
        raise unproven("authorization: it must be given once", Proof.KEY)
    scheme, _, credential = value.partition(" ")
    if scheme.lower() != "bearer" or not credential or not credential.isascii():
        raise unproven("authorization: write `Bearer` and the key or token", Proof.KEY)
    return credential


def _caller(known: CallerIdentity, proof: Proof, identity: str, attributes: Mapping[str, str]) -> Caller:
    return Caller(name=known.name, proof=proof, identity=identity, admin=known.admin, attributes=attributes)
