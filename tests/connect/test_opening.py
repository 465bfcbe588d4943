"""What a request says of itself (over sockets: test_unary.py)."""

from __future__ import annotations

import pytest

from sidecar.connect.messages import Peer, Request, Response
from sidecar.connect.opening import Opened, open_call


def opened(**headers: str) -> Opened | Response:
    given = {"content_type": "application/json"} | headers
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    return open_call(Request("POST", "/", fields, Peer()))


def test_form_and_deadline_are_read() -> None:
    assert opened() == Opened(in_json=True, timeout=None)
    assert opened(content_type="Application/Proto", connect_timeout_ms="1500") == Opened(
        in_json=False, timeout=1.5
    )
    assert opened(connect_timeout_ms="0") == Opened(in_json=True, timeout=0.0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": ""}, 415),
        ({"content_type": "application/connect+json"}, 415),
        ({"connect_protocol_version": "1.0"}, 400),
        ({"content_encoding": "br"}, 501),
        ({"connect_timeout_ms": "1 "}, 400),
        ({"connect_timeout_ms": "\u00b2"}, 400),
    ],
)
def test_what_breaks_the_rules_is_answered(headers: dict[str, str], status: int) -> None:
    answer = opened(**headers)
    assert isinstance(answer, Response)
    assert answer.status == status
