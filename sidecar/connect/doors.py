"""What a call over HTTP brings that may prove who makes it."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.connect.messages import Request
from sidecar.services.callers import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An address that callers come through.

    `takes_anonymous` is false where other machines come in, unless the operator allows it by name.
    """

    takes_anonymous: bool = True
    for_admin: bool = False

    def facts(self, call: Request) -> Facts:
        """What the call and its connection bring."""
        return Facts(
            certificate=call.peer.certificate,
            process=call.peer.process,
            authorization=call.every(b"authorization"),
        )
