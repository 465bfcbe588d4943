"""Shared responses: small JSON, no version of anything, kept by no cache."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from sidecar.web.answers import json_answer, method_not_allowed, refusal


def content(response: web.Response) -> object:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


@pytest.mark.parametrize(
    ("status", "error"), [(400, "bad request"), (404, "not found"), (500, "internal server error")]
)
def test_a_refusal_says_its_status_and_no_more(status: int, error: str) -> None:
    response = refusal(status)
    assert (response.status, content(response)) == (status, {"error": error})
    assert dict(response.headers) == {
        "Server": "usher",
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
    }


def test_a_method_that_is_not_allowed_learns_which_are() -> None:
    response = method_not_allowed()
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_json_is_ascii_on_one_line() -> None:
    response = json_answer(200, {"detail": "line\nbreak é"})
    assert response.body == b'{"detail":"line\\nbreak \\u00e9"}\n'
