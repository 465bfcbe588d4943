"""What a gRPC call brings: its metadata, and nothing from a connection that came past the relay."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sidecar.core.errors import UsherError
from sidecar.rpc.doors import OPEN_DOOR, Door
from sidecar.rpc.peer_relay import PeerRelay


class Call:
    """A call as gRPC shows it."""

    def peer(self) -> str:
        return "unix:/somewhere/else"

    metadata = (("x-request-id", "1"), ("authorization", "Bearer a"), ("authorization", "Bearer b"))


def test_every_authorization_is_seen_and_no_other_metadata() -> None:
    facts = OPEN_DOOR.facts(cast(Any, Call()))
    assert facts.authorization == ("Bearer a", "Bearer b")
    assert facts.certificate is None
    assert facts.process is None


def test_a_connection_that_came_past_the_relay_is_refused() -> None:
    door = Door(relay=PeerRelay("/nowhere"))
    with pytest.raises(UsherError) as caught:
        door.facts(cast(Any, Call()))
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"
