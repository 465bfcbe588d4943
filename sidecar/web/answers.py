"""Responses that every path shares. Bodies are small JSON, and never repeat what the client sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

COMMON_HEADERS: Final = {"Server": "usher"}
"""On every response. aiohttp would else name itself, Python and both versions."""

ALLOWED_METHODS: Final = ("GET", "HEAD")


def json_answer(
    status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON response that no cache keeps."""
    return web.Response(
        status=status,
        body=json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n",
        headers=COMMON_HEADERS
        | {"Content-Type": "application/json", "Cache-Control": "no-store"}
        | dict(headers or {}),
    )


def refusal(status: int) -> web.Response:
    """A response that says no more than its status."""
    return json_answer(status, {"error": HTTPStatus(status).phrase.lower()})


def method_not_allowed() -> web.Response:
    """405 with the methods that are allowed (RFC 9110 section 15.5.6)."""
    return json_answer(405, {"error": "method not allowed"}, {"Allow": ", ".join(ALLOWED_METHODS)})
