"""A response's head, and a request's header fields."""

from __future__ import annotations

import re

from sidecar.connect.messages import Peer, Request, Response


def test_a_head_has_its_length_date_and_fields() -> None:
    head = Response(200, b"application/json", b"{}", ((b"retry-after", b"1"),)).head(closes=True)
    pattern = (
        rb"HTTP/1\.1 200 OK\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n"
        rb"content-type: application/json\r\nretry-after: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    )
    assert re.fullmatch(pattern, head)


def test_no_content_has_no_length() -> None:
    assert b"content-length" not in Response(204).head(closes=False)


def test_the_status_that_only_connect_has_can_be_written() -> None:
    assert Response(499).head(closes=False).startswith(b"HTTP/1.1 499 Client Closed Request\r\n")


def test_header_fields_are_found_by_name() -> None:
    request = Request("POST", "/", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], Peer())
    assert (request.every(b"a"), request.first(b"a"), request.first(b"c")) == (("1", "3"), "1", "")
    assert request.names == (b"a", b"b")
