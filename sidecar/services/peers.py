"""Who is at the other end of a Unix socket, as the kernel knows it."""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any, Final

# struct xucred of sys/ucred.h: version, uid, number of groups, groups (the first is the effective one).
_XUCRED: Final = struct.Struct("=IIhxx16I")
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
# struct ucred of unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("=iII")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCredentials:
    """User and group (the effective ones) of the process that connected, at the time when it did."""

    uid: int
    gid: int


def credentials_behind(transport: Any) -> PeerCredentials:
    """Who connected the socket of an asyncio transport. Raises OSError."""
    # A socket of our own on the same connection: that of uvloop's transports cannot be asked.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
        return peer_credentials(connection)


def peer_credentials(connection: Any) -> PeerCredentials:
    """Who connected, by SO_PEERCRED (unix(7)) or on macOS LOCAL_PEERCRED (unix(4)). Raises OSError."""
    if sys.platform == "darwin":
        found = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
        _, uid, count, *groups = _XUCRED.unpack(found)
        if count < 1:
            raise OSError("the process has no group")
        return PeerCredentials(uid=uid, gid=groups[0])
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if pid == 0 and uid == 2**32 - 1:
        raise OSError("the socket has no peer")
    return PeerCredentials(uid=uid, gid=gid)
