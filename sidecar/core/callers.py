"""Callers: who asks, and what proves it. A caller is a service, never the end user that it speaks for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ANONYMOUS_NAME: Final = "anonymous"
"""The name under which a policy speaks of callers that prove nothing."""

ATTRIBUTES: Final = ("spiffe_id", "dns", "uid", "gid", "namespace", "service_account")
"""The facts that a proof may establish, and from which the policy may derive claims."""


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
