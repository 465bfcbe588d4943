"""What a gRPC call brings that may prove who makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.core.callers import Proof, unproven
from sidecar.rpc.calls import Arrival
from sidecar.rpc.peer_relay import PeerRelay
from sidecar.rpc.tls import Tls
from sidecar.services.callers import Facts
from sidecar.services.peers import PeerCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gRPC address that callers come through.

    `tls` is for TCP, `relay` for a Unix socket; both bring proofs. `takes_anonymous` is false where other
    machines come in, unless the operator allows it by name; `for_admin` is true for the admin Unix socket.
    """

    tls: Tls | None = None
    relay: PeerRelay | None = None
    takes_anonymous: bool = True
    for_admin: bool = False

    def facts(self, call: Arrival) -> Facts:
        """What the call brings. Raises UsherError for a connection that came past the relay."""
        certificate: bytes | None = None
        process: PeerCredentials | None = None
        if self.relay is not None:
            process = self.relay.credentials(call.peer())
            if process is None:
                raise unproven("the connection did not come through the socket", Proof.UNIX)
        elif self.tls is not None:
            certificate = next(iter(call.auth_context().get("x509_pem_cert", ())), None)
        authorization = tuple([value for key, value in call.metadata if key == "authorization"])
        return Facts(certificate=certificate, process=process, authorization=authorization)


OPEN_DOOR: Final = Door()
"""A local address without proofs of the connection."""
