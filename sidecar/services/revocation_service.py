"""RevocationService: revoke tokens, list what is revoked, lift a revocation."""

from __future__ import annotations

from typing import Final

from usher.v1 import revocation_service_pb2 as pb

from sidecar.core.callers import Caller
from sidecar.core.deny_list import By, Revocation
from sidecar.core.errors import invalid_field
from sidecar.core.policy import Ask, Authorizer
from sidecar.core.revocations import Revocations
from sidecar.services.convert import seconds, timestamp

DEFAULT_ENTRIES: Final = 1000
"""Returned when the caller names no limit."""


class RevocationService:
    """Methods of usher.v1.RevocationService."""

    def __init__(self, revocations: Revocations, authorizer: Authorizer) -> None:
        self._revocations = revocations
        self._authorizer = authorizer

    async def revoke_tokens(self, request: pb.RevokeTokensRequest, caller: Caller) -> bytes:
        """Adds an entry, in force here when the answer is sent."""
        self._authorizer.decide(caller, Ask(method="RevokeTokens"))
        by, value = _named(request.revoked)
        if request.existing_tokens_only and by is not By.SUB:
            raise invalid_field("existing_tokens_only", "goes with revoked.sub only; leave it out")
        entry = await self._revocations.revoke(
            by,
            value,
            existing_only=request.existing_tokens_only,
            seconds=seconds(request.duration) if request.HasField("duration") else None,
        )
        return pb.RevokeTokensResponse(
            revocation=_message(entry), shared=self._revocations.shared
        ).SerializeToString()

    async def list_revocations(self, request: pb.ListRevocationsRequest, caller: Caller) -> bytes:
        """The entries in force, as the store has them now."""
        self._authorizer.decide(caller, Ask(method="ListRevocations"))
        await self._revocations.refresh()
        entries = self._revocations.in_force()
        return pb.ListRevocationsResponse(
            revocations=[_message(entry) for entry in entries[: request.max_entries or DEFAULT_ENTRIES]],
            total=len(entries),
            shared=self._revocations.shared,
        ).SerializeToString()

    async def lift_revocation(self, request: pb.LiftRevocationRequest, caller: Caller) -> bytes:
        """Removes an entry."""
        self._authorizer.decide(caller, Ask(method="LiftRevocation"))
        lifted = await self._revocations.lift(*_named(request.revoked))
        return pb.LiftRevocationResponse(lifted=lifted).SerializeToString()


def _named(revoked: pb.Revoked) -> tuple[By, str]:
    """What an entry is about. Raises UsherError for what Postgres cannot store."""
    by = By(revoked.WhichOneof("by"))  # the contract's rules see to it that there is one
    value: str = getattr(revoked, by.value)
    if "\0" in value:
        raise invalid_field(f"revoked.{by.value}", "must not hold a NUL character; no token has one")
    return by, value


def _message(entry: Revocation) -> pb.Revocation:
    until = entry.issued_until
    return pb.Revocation(
        revoked=pb.Revoked(**{entry.by.value: entry.value}),
        issued_until_time=None if until is None else timestamp(until),
        revoke_time=timestamp(entry.revoked_at),
        expire_time=timestamp(entry.expires_at),
    )
