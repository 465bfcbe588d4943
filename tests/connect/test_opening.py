"""What a request says of itself (over sockets: test_unary.py)."""

from __future__ import annotations

import pytest

from sidecar.connect.messages import Peer, Request
from sidecar.connect.opening import STREAMING, UNARY, Fault, Form, Opened
from sidecar.services.status import Code


def opened(form: Form = UNARY, **headers: str) -> Opened | Fault | None:
    given = {"content_type": "application/json"} | headers
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    return form.opened(Request("POST", "/", fields, Peer()))


def test_form_and_deadline_are_read() -> None:
    assert opened() == Opened(in_json=True, timeout=None)
    assert opened(content_type="Application/Proto", connect_timeout_ms="1500") == Opened(
        in_json=False, timeout=1.5
    )
    assert opened(connect_timeout_ms="0") == Opened(in_json=True, timeout=0.0)


def test_each_form_has_its_types_and_its_header_of_compression() -> None:
    proto, json = "application/connect+proto", "application/connect+json"
    assert opened(STREAMING, content_type=proto) == Opened(in_json=False, timeout=None)
    # Of a stream this header would mean the whole body.
    streamed = {"content_type": json, "content_encoding": "gzip"}
    assert opened(STREAMING, **streamed) == Opened(in_json=True, timeout=None)
    assert [opened(STREAMING), opened(content_type=proto), opened(content_type="")] == [None] * 3
    fault = opened(STREAMING, content_type=json, connect_content_encoding="gzip")
    assert isinstance(fault, Fault)
    assert (fault.code, fault.headers) == (Code.UNIMPLEMENTED, ((b"connect-accept-encoding", b"identity"),))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"connect_protocol_version": "1.0"}, Code.INVALID_ARGUMENT),
        ({"content_encoding": "br"}, Code.UNIMPLEMENTED),
        ({"connect_timeout_ms": "1 "}, Code.INVALID_ARGUMENT),
        ({"connect_timeout_ms": "\u00b2"}, Code.INVALID_ARGUMENT),
    ],
)
def test_what_breaks_the_rules_is_a_fault(headers: dict[str, str], code: Code) -> None:
    answer = opened(**headers)
    assert isinstance(answer, Fault)
    assert answer.code is code
