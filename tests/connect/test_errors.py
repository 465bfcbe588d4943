"""Errors in the protocol's JSON: every code has a status, and text of any kind is sent."""

from __future__ import annotations

import json

from sidecar.connect.errors import HTTP_STATUS, error_response, name_of, plain_error
from sidecar.core.errors import Reason, UsherError
from sidecar.services.status import Code


def test_every_code_has_a_status_and_the_protocols_name() -> None:
    assert set(HTTP_STATUS) == set(Code)
    assert name_of(Code.CANCELLED) == "canceled"
    assert name_of(Code.DEADLINE_EXCEEDED) == "deadline_exceeded"


def test_text_that_utf_8_cannot_write_is_sent_all_the_same() -> None:
    body = error_response(UsherError(Reason.INTERNAL, "a\ud800b", {"field": "c\ud800"}), "1").body
    assert json.loads(body)["message"] == "a?b"


def test_values_are_base64_without_padding() -> None:
    details = json.loads(error_response(UsherError(Reason.INTERNAL, "x"), "1").body)["details"]
    assert "=" not in details[0]["value"]


def test_what_is_wrong_before_there_is_a_call_has_no_details() -> None:
    response = plain_error(Code.UNIMPLEMENTED, "no", (b"accept-encoding", b"identity"))
    assert json.loads(response.body) == {"code": "unimplemented", "message": "no"}
    assert (response.status, response.headers) == (501, ((b"accept-encoding", b"identity"),))
