"""Paths, methods and origins: what is refused before there is a call."""

from __future__ import annotations

import pytest

from tests.connect.running import running
from tests.connect.test_unary import QUERY
from tests.rpc.running import LIST_KEYS, RUN, STREAM


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        (f"/{RUN}", "GET", {}, 405),
        (f"/{RUN}", "POST", {"content_type": "text/plain"}, 415),
        (f"/{RUN}", "POST", {"content_type": "application/grpc"}, 415),
        (f"/{RUN}", "POST", {"content_encoding": "gzip"}, 501),
        (f"/{RUN}", "POST", {"connect_protocol_version": "2"}, 400),
        (f"/{RUN}", "POST", {"connect_protocol_version": "1"}, 200),
        (f"/{RUN}", "POST", {"content_type": "application/json; charset=utf-8"}, 200),
        (f"/{RUN}?x=1", "POST", {}, 200),
        ("/", "POST", {}, 404),
        (f"/{RUN}/", "POST", {}, 404),
        (f"/{LIST_KEYS}", "POST", {}, 404),
        (f"/{STREAM}", "GET", {}, 405),
        (f"/{STREAM}", "POST", {}, 415),
    ],
)
async def test_the_protocol_is_kept_to(path: str, method: str, headers: dict[str, str], status: int) -> None:
    async with running() as there:
        assert (await there.call(path, QUERY, method=method, **headers)).status == status


async def test_no_web_page_may_call_unless_its_origin_is_listed() -> None:
    async with running(origins=["https://app.example.org"]) as there:
        for origin in ("https://evil.example", "null", "https://app.example.org.evil.example"):
            answer = await there.call(RUN, QUERY, origin=origin)
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers
        assert there.parts.backend.statements == []
        answer = await there.call(RUN, QUERY, origin="https://app.example.org")
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        assert answer.status == 200


async def test_a_preflight_is_answered_for_a_listed_origin_alone() -> None:
    async with running(origins=["https://app.example.org"]) as there:
        answer = await there.call(RUN, b"", method="OPTIONS", origin="https://app.example.org")
        assert answer.status == 204
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert (await there.call(RUN, b"", method="OPTIONS", origin="https://b.example")).status == 403
