"""What a call brings: its connection's proofs, and each of its authorizations."""

from __future__ import annotations

from sidecar.connect.doors import Door
from sidecar.connect.messages import Peer, Request
from sidecar.services.peers import PeerCredentials


def test_every_authorization_and_the_proofs_of_the_connection_are_seen() -> None:
    peer = Peer(certificate=b"pem", process=PeerCredentials(uid=1, gid=2))
    headers = [(b"authorization", b"Bearer a"), (b"x", b"y"), (b"authorization", b"Bearer \xe9")]
    facts = Door().facts(Request("POST", "/", headers, peer))
    assert facts.authorization == ("Bearer a", "Bearer \xe9")
    assert (facts.certificate, facts.process) == (b"pem", PeerCredentials(uid=1, gid=2))
