"""The lines between the sidecar and the process of its public listener."""

from __future__ import annotations

import json

import pytest

from sidecar.core.keyring import PublishedKeys
from sidecar.web.feed import Lines, Order, Report, Served, order_line, order_of, report_line, report_of

KEYS = PublishedKeys(
    body=b'{"keys":[{"kty":"EC","kid":"one"}]}',
    etag='"tag"',
    max_age=10,
    algorithms=("ES256", "RS256"),
    settled_at=0.0,
    version=7,
)


@pytest.mark.parametrize("order", [Order(published=KEYS), Order(stop=2.5), Order(stop=0.0)])
def test_an_order_comes_as_it_was_sent(order: Order) -> None:
    line = order_line(order)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert order_of(line) == order


def test_whether_a_set_has_settled_is_for_the_sender_to_say() -> None:
    from_the_ring = PublishedKeys(body=b"{}", etag='""', max_age=10, algorithms=("ES256",), settled_at=2e9)
    sent = order_of(order_line(Order(published=from_the_ring))).published
    assert sent is not None
    assert (sent.max_age, sent.settled_at) == (10, 0.0)


def test_a_report_comes_as_it_was_sent() -> None:
    served = {
        Served(status=200, agent="neon-proxy", version=7): 3,
        Served(status=404, agent="other", version=0): 1,
    }
    for report in (Report(), Report(ready=True, served=served, faults=2, late=0.25)):
        assert report_of(report_line(report)) == report


def test_nothing_but_the_public_set_goes_down() -> None:
    assert set(json.loads(order_line(Order(published=KEYS)))["set"]) == {
        "algorithms",
        "body",
        "etag",
        "max_age",
        "version",
    }


def test_lines_are_put_together_from_any_pieces() -> None:
    got: list[bytes] = []
    ended: list[bool] = []
    lines = Lines(got.append, lambda: ended.append(True))
    for piece in (b"on", b"e\ntwo\nth", b"", b"ree\n", b"rest"):
        lines.data_received(piece)
    assert (got, ended) == ([b"one", b"two", b"three"], [])
    lines.connection_lost(None)
    assert (got, ended) == ([b"one", b"two", b"three"], [True])
