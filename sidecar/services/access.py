"""Every RPC: where it is served, what its caller must be, its limits. A test fails when one is missing."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from sidecar.core.callers import Caller, Proof, unproven
from sidecar.core.errors import Reason, UsherError

SMALL_REQUEST_BYTES: Final = 96 * 1024
"""Of every request but those that bring statements: the largest token and the largest claims fit well."""


class Listener(enum.Enum):
    """The gRPC address that serves an RPC."""

    DATA = "grpc_address"
    ADMIN = "grpc_admin_address"


class Needs(enum.Enum):
    """What a caller must be; what it may then do is the policy's to say."""

    CALLER = "any caller"
    ADMIN = "an admin caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One RPC's row of the table. `max_request_bytes` is None where max_message_bytes is the limit."""

    listener: Listener
    needs: Needs
    max_request_bytes: int | None


_SMALL: Final = Access(listener=Listener.DATA, needs=Needs.CALLER, max_request_bytes=SMALL_REQUEST_BYTES)
_QUERY: Final = Access(listener=Listener.DATA, needs=Needs.CALLER, max_request_bytes=None)
_ADMIN: Final = Access(listener=Listener.ADMIN, needs=Needs.ADMIN, max_request_bytes=SMALL_REQUEST_BYTES)

ACCESS: Final[dict[str, Access]] = {
    "usher.v1.TokenService/IssueToken": _SMALL,
    "usher.v1.TokenService/VerifyToken": _SMALL,
    "usher.v1.QueryService/RunScopedQuery": _QUERY,
    "usher.v1.QueryService/StreamScopedQuery": _QUERY,
    "usher.v1.QueryService/RunScopedTransaction": _QUERY,
    "usher.v1.QueryService/WhoAmI": _SMALL,
    "usher.v1.KeyService/ListKeys": _ADMIN,
    "usher.v1.KeyService/RotateKeys": _ADMIN,
    "usher.v1.KeyService/RevokeKey": _ADMIN,
    "usher.v1.RevocationService/RevokeTokens": _ADMIN,
    "usher.v1.RevocationService/ListRevocations": _ADMIN,
    "usher.v1.RevocationService/LiftRevocation": _ADMIN,
}


def check_needs(access: Access, caller: Caller) -> None:
    """Raises UsherError unless the caller is what the RPC needs, whatever a policy says."""
    if access.needs is not Needs.ADMIN or caller.admin:
        return
    if caller.proof is Proof.ANONYMOUS:
        raise unproven("the method needs an admin caller, and this call proves none", Proof.ANONYMOUS)
    rule = f"callers.{caller.name}.admin"
    raise UsherError(Reason.POLICY_REFUSED, f"{rule}: the method needs an admin caller", {"rule": rule})
