"""Backend: whichever the database has. Each session's own state decides, never a guess.

A session that was opened with pg_session_jwt there proves identity by tokens, one that was opened without by
signed claims. Either way Postgres confirms the identity at the head of each transaction, so that a session
from before the extension came or went is not misled. The pool's next look at the database (check_database.py)
has all sessions opened anew.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from sidecar.core.issuer import Scope
from sidecar.core.transactions import Isolation
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.entry import Entry
from sidecar.postgres.pool import Pool
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.session_jwt import SessionJwtBackend
from sidecar.postgres.session_keys import session_key
from sidecar.postgres.sessions import Pooling
from sidecar.postgres.signed_claims import SignedClaimsBackend
from sidecar.postgres.streaming import StreamingBackend


class DetectedBackend(StreamingBackend):
    """Signed claims or tokens, as each session can."""

    def __init__(
        self, pool: Pool, settings: ClaimSettings, key: CurrentKey, pooling: Pooling = Pooling.DIRECT
    ) -> None:
        super().__init__(pool, settings)
        self._signed = SignedClaimsBackend(pool, settings, key, pooling)
        self._tokens = SessionJwtBackend(pool, settings)
        self._kind = Identity.AUTO.value

    @property
    def kind(self) -> str:
        """How identity reached Postgres the last time; auto before the first."""
        return self._kind

    async def entry(
        self,
        connection: asyncpg.Connection[Any],
        scope: Scope,
        timeout: float,
        *,
        read_only: bool,
        isolation: Isolation | None = None,
    ) -> Entry:
        """See ScopedBackend."""
        key = session_key(connection)
        chosen = self._tokens if key is not None and key.believed else self._signed
        self._kind = chosen.kind
        return await chosen.entry(connection, scope, timeout, read_only=read_only, isolation=isolation)
