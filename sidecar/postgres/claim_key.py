"""The key that makes claims believed: what a tag is, byte for byte.

Its other half is usher.claims() in sql/0002_signed_claims.up.sql, and usher.revocations() in
sql/0003_revocations.up.sql for requests about the deny list.
"""

from __future__ import annotations

import hmac
import re
import struct
from dataclasses import dataclass, field
from typing import Final

from sidecar.core.errors import SettingsError

BINDING: Final = (
    "SELECT pg_catalog.timestamptz_send(pg_catalog.now())"
    " OPERATOR(pg_catalog.||) pg_catalog.int4send(pg_catalog.pg_backend_pid())"
)
"""What a transaction is bound by: its start, microseconds since 2000, and its backend; 8 and 4 bytes."""

BINDING_BYTES: Final = 12
_LABEL: Final = b"usher claims v1"
_LIST_LABEL: Final = b"usher deny list v1"
"""Neither label begins with the other: a tag of one kind never fits the other."""
_TEXT: Final = re.compile(r"([a-z0-9]{1,16}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKey:
    """One of the keys in usher.claim_key."""

    id: str
    secret: bytes = field(repr=False)

    @staticmethod
    def parse(text: str) -> ClaimKey:
        """The key in its text form, `id:hex`, as `usher db` prints it. Raises SettingsError."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise SettingsError("claim_key must be as `usher db key add` printed it, id:hex")
        return ClaimKey(id=match[1], secret=bytes.fromhex(match[2]))

    def tag(self, binding: bytes, role: str, claims: str) -> str:
        """The tag for claims, as JSON text, under a role, in the transaction that gave `binding`."""
        assert len(binding) == BINDING_BYTES
        octets = role.encode()
        message = _LABEL + binding + struct.pack("!i", len(octets)) + octets + claims.encode()
        return self._over(message)

    def list_tag(self, binding: bytes, request: str) -> str:
        """The tag for a request about the deny list, in the transaction that gave `binding`."""
        assert len(binding) == BINDING_BYTES
        return self._over(_LIST_LABEL + binding + request.encode())

    def _over(self, message: bytes) -> str:
        return f"{self.id}.{hmac.digest(self.secret, message, 'sha256').hex()}"


@dataclass(slots=True)
class CurrentKey:
    """The key in force, for all that make tags. Another one may take its place between two transactions."""

    key: ClaimKey
