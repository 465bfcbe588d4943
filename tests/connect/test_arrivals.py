"""What a call over HTTP says of itself to what is around every call."""

from __future__ import annotations

import pytest

from sidecar.connect.arrivals import Arrival, refuse_size
from sidecar.connect.messages import Peer, Request
from sidecar.core.callers import ANONYMOUS, Caller
from sidecar.core.errors import Reason, UsherError
from tests.fakes import FakeClock


async def identify(request: Request) -> Caller:
    return ANONYMOUS


async def test_the_deadline_counts_from_the_arrival() -> None:
    clock = FakeClock()
    request = Request("POST", "/", [(b"x-request-id", b"a"), (b"x-request-id", b"b")], Peer())
    arrival = Arrival(request, identify, clock, 2.0)
    await clock.advance(0.5)
    assert arrival.time_remaining() == 1.5
    assert Arrival(request, identify, clock, None).time_remaining() is None
    assert arrival.request_ids() == ("a", "b")
    assert await arrival.caller() is ANONYMOUS


def test_a_size_is_refused_with_its_limit() -> None:
    with pytest.raises(UsherError) as refused:
        refuse_size(17)(b"")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert "17" in refused.value.message
