"""Origins are compared whole, and a request from no page has none."""

from __future__ import annotations

import pytest

from sidecar.connect.messages import Peer, Request
from sidecar.connect.origins import Origins

LISTED = Origins(["https://app.example.org"])


def of(*origins: bytes) -> Request:
    return Request("POST", "/", [(b"origin", origin) for origin in origins], Peer())


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ((), True),
        ((b"https://app.example.org",), True),
        ((b"http://app.example.org",), False),
        ((b"https://app.example.org:444",), False),
        ((b"https://app.example.org", b"https://b.example"), False),
        ((b"",), False),
        ((b"null",), False),
    ],
)
def test_who_may_call(origins: tuple[bytes, ...], allowed: bool) -> None:
    assert LISTED.allows(of(*origins)) is allowed


def test_a_listed_origin_may_read_the_answer_and_no_other() -> None:
    assert (b"access-control-allow-origin", b"https://app.example.org") in LISTED.headers(
        of(b"https://app.example.org")
    )
    assert LISTED.headers(of(b"https://b.example")) == LISTED.headers(of()) == ()
