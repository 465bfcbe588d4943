"""Callers: who asks, and what proves it. A caller is a service, never the end user that it speaks for."""

from __future__ import annotations

import enum
import hashlib
import hmac
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.core.errors import Reason, SettingsError, UsherError

ANONYMOUS_NAME: Final = "anonymous"
"""The name under which a policy speaks of callers that prove nothing."""

ATTRIBUTES: Final = ("spiffe_id", "dns", "uid", "gid", "namespace", "service_account")
"""The facts that a proof may establish, and from which the policy may derive claims."""


KEY_PREFIX: Final = "usher_"
"""What every bearer key starts with. Lets scanners for secrets find one that was committed by mistake."""


class Proof(enum.StrEnum):
    """How a caller proved who it is, in the order of preference."""

    MTLS = "mtls"
    UNIX = "unix"
    JWT = "jwt"
    KEY = "key"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as established for one call.

    `name` is the caller's name in the policy, `identity` its text for logs, `attributes` the proven facts by
    the names in ATTRIBUTES.
    """

    name: str
    proof: Proof
    identity: str
    admin: bool
    attributes: Mapping[str, str]


ANONYMOUS: Final = Caller(
    name=ANONYMOUS_NAME, proof=Proof.ANONYMOUS, identity=ANONYMOUS_NAME, admin=False, attributes={}
)
"""A caller that proved nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerIdentity:
    """What proves that a connection is a caller: any one kind suffices.

    `uids` and `gids` are one kind: where both are given, both must hold. `service_accounts` are pairs of a
    token's `iss` and `sub`. `key_hashes` are SHA-256 of bearer keys, 64 hexadecimal digits in lower case.
    """

    name: str
    admin: bool = False
    spiffe_ids: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()
    service_accounts: tuple[tuple[str, str], ...] = ()
    key_hashes: tuple[str, ...] = ()


_OVERFLOW_ID: Final = 65_534
"""How the kernel shows every user and group that this namespace has no number for (user_namespaces(7))."""


class Directory:
    """Which caller each proven fact belongs to. Immutable; a reload makes another one."""

    def __init__(self, identities: Sequence[CallerIdentity] = ()) -> None:
        """Raises SettingsError for callers that one connection could be both of."""
        self._facts: dict[tuple[str, object], CallerIdentity] = {}
        self._by_uid: dict[int, list[CallerIdentity]] = {}
        self._of_any_uid = [known for known in identities if known.gids and not known.uids]
        self._keys: list[tuple[bytes, CallerIdentity]] = []
        if len({known.name for known in identities}) < len(identities):
            raise SettingsError("callers: two have the same name")
        for known in identities:
            self._add(known, "SPIFFE ID", known.spiffe_ids)
            self._add(known, "DNS name", tuple(name.lower() for name in known.dns_names))
            self._add(known, "service account", known.service_accounts)
            self._add(known, "key", known.key_hashes)
            for uid in set(known.uids):
                self._by_uid.setdefault(uid, []).append(known)
            self._keys += [(bytes.fromhex(digest), known) for digest in set(known.key_hashes)]
        _check_processes([known for known in identities if known.uids or known.gids])
        self.provable: Final = frozenset(proof for known in identities for proof in _proofs(known))
        """The proofs by which any caller can be known."""

    def by_spiffe_id(self, spiffe_id: str) -> CallerIdentity | None:
        """The caller with this SPIFFE ID, compared exactly."""
        return self._facts.get(("SPIFFE ID", spiffe_id))

    def by_dns_names(self, names: Sequence[str]) -> CallerIdentity | None:
        """The caller that these names of one certificate belong to; None too when they are several's."""
        found = {
            known.name: known for name in names if (known := self._facts.get(("DNS name", name.lower())))
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def by_process(self, uid: int, gid: int) -> CallerIdentity | None:
        """The caller that a process of this user and group is."""
        if _OVERFLOW_ID in (uid, gid):
            return None
        candidates = itertools.chain(self._by_uid.get(uid, ()), self._of_any_uid)
        return next((known for known in candidates if not known.gids or gid in known.gids), None)

    def by_service_account(self, issuer: str, subject: str) -> CallerIdentity | None:
        """The caller with the service account whose tokens have these `iss` and `sub`."""
        return self._facts.get(("service account", (issuer, subject)))

    def by_key(self, key: str) -> tuple[CallerIdentity, str] | None:
        """The caller with this bearer key, and the key's hash.

        Every hash is compared, each in constant time: the time taken tells nothing of any hash.
        """
        presented = hashlib.sha256(key.encode()).digest()
        found = None
        for digest, known in self._keys:
            if hmac.compare_digest(digest, presented):
                found = known, digest.hex()
        return found

    def _add(self, known: CallerIdentity, kind: str, values: Sequence[object]) -> None:
        for value in values:
            if self._facts.setdefault((kind, value), known) is not known:
                other = self._facts[kind, value].name
                raise SettingsError(f"callers {other} and {known.name} have the same {kind}")


def unproven(message: str, proof: Proof) -> UsherError:
    """The error for a caller whose proof does not hold, or that gave none."""
    return UsherError(Reason.CALLER_UNAUTHENTICATED, message, {"proof": proof.value})


def _proofs(known: CallerIdentity) -> Iterator[Proof]:
    if known.spiffe_ids or known.dns_names:
        yield Proof.MTLS
    if known.uids or known.gids:
        yield Proof.UNIX
    if known.service_accounts:
        yield Proof.JWT
    if known.key_hashes:
        yield Proof.KEY


def _check_processes(identities: Sequence[CallerIdentity]) -> None:
    for known in identities:
        if _OVERFLOW_ID in known.uids or _OVERFLOW_ID in known.gids:
            raise SettingsError(f"caller {known.name}: {_OVERFLOW_ID} stands for every unknown user or group")
    for one, other in itertools.combinations(identities, 2):
        if _may_meet(one.uids, other.uids) and _may_meet(one.gids, other.gids):
            raise SettingsError(
                f"callers {one.name} and {other.name}: a process may be both; tell them apart by uid and gid"
            )


def _may_meet(one: Sequence[int], other: Sequence[int]) -> bool:
    return not one or not other or not set(one).isdisjoint(other)
