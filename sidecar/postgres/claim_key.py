"""The key that makes claims believed: what a tag is, byte for byte.

Its other half is usher.claims() in sql/0004_session_challenge.up.sql, and usher.revocations() in
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
NEXT_CHALLENGE: Final = "SELECT usher.next_challenge()"
"""Gives a session a new number, by which the transaction that follows may be bound instead."""

OFFERS_CHALLENGES: Final = (
    "pg_catalog.to_regprocedure('usher.next_challenge()') IS NOT NULL"
    " AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 150000"
    " AND NOT pg_catalog.pg_is_in_recovery()"
    " AND pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'off'"
)
"""Whether NEXT_CHALLENGE works here, and writes nothing: it moves a sequence, which no replica may."""

_LABEL: Final = b"usher claims v1"
_SESSION_LABEL: Final = b"usher claims v2"
_LIST_LABEL: Final = b"usher deny list v1"
"""None of them begins with another: a tag of one kind never fits another."""
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
        return f"{self.id}.{self._over(_LABEL + binding + _who(role, claims))}"

    def session_tag(self, challenge: int, pid: int, role: str, claims: str) -> str:
        """The same for the transaction in which the backend `pid` has the number `challenge`."""
        binding = struct.pack("!qi", challenge, pid)
        return f"{self.id}.s.{self._over(_SESSION_LABEL + binding + _who(role, claims))}"

    def list_tag(self, binding: bytes, request: str) -> str:
        """The tag for a request about the deny list, in the transaction that gave `binding`."""
        assert len(binding) == BINDING_BYTES
        return f"{self.id}.{self._over(_LIST_LABEL + binding + request.encode())}"

    def _over(self, message: bytes) -> str:
        return hmac.digest(self.secret, message, "sha256").hex()


def _who(role: str, claims: str) -> bytes:
    octets = role.encode()
    return struct.pack("!i", len(octets)) + octets + claims.encode()


@dataclass(slots=True)
class Challenge:
    """The number of one session, as far as the sidecar knows it. A statement may move it, never read it."""

    offered: bool = False
    """Whether Postgres gives the session numbers (OFFERS_CHALLENGES)."""
    number: int | None = None
    """That of the next transaction."""


@dataclass(slots=True)
class CurrentKey:
    """The key in force, for all that make tags. Another one may take its place between two transactions."""

    key: ClaimKey
