"""Every RPC, where it is served and what its caller needs. A test fails when one is missing."""

from __future__ import annotations

import enum
from typing import Final


class Listener(enum.Enum):
    """The gRPC address that serves an RPC."""

    DATA = "grpc_address"
    ADMIN = "grpc_admin_address"


ACCESS: Final[dict[str, Listener]] = {
    "usher.v1.TokenService/IssueToken": Listener.DATA,
    "usher.v1.TokenService/VerifyToken": Listener.DATA,
    "usher.v1.QueryService/RunScopedQuery": Listener.DATA,
    "usher.v1.QueryService/WhoAmI": Listener.DATA,
    "usher.v1.KeyService/ListKeys": Listener.ADMIN,
    "usher.v1.KeyService/RotateKeys": Listener.ADMIN,
    "usher.v1.KeyService/RevokeKey": Listener.ADMIN,
}
"""Reaching the admin address is what makes an admin: a Unix socket with mode 0600 is the usual choice."""
