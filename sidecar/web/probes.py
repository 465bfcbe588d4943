"""The private paths: /metrics for Prometheus, /livez and /readyz for whoever restarts and routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from sidecar.core.health import Check
from sidecar.web.answers import ALLOWED_METHODS, COMMON_HEADERS, json_answer, method_not_allowed, refusal

METRICS_PATH: Final = "/metrics"
LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"


Render = Callable[[str | None], Awaitable[tuple[bytes, str]]]
"""From an Accept header, or None, to the metrics' text and its content type."""


class Probes:
    """The handler of the private listener."""

    def __init__(self, render: Render, checks: Callable[[], Sequence[Check]]) -> None:
        """`checks` is asked once a request to /readyz and must be quick; ready is when all are ok."""
        self._render = render
        self._checks = checks
        self._answers: dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            METRICS_PATH: self._metrics,
            LIVE_PATH: _live,
            READY_PATH: self._ready,
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answers one request."""
        answer = self._answers.get(request.path)
        if answer is None:
            return refusal(404)
        if request.method not in ALLOWED_METHODS:
            return method_not_allowed()
        return await answer(request)

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        body, content_type = await self._render(request.headers.get("Accept"))
        return web.Response(
            body=body,
            headers=COMMON_HEADERS | {"Content-Type": content_type, "Cache-Control": "no-store"},
        )

    async def _ready(self, request: web.BaseRequest) -> web.Response:
        checks = self._checks()
        ready = all(check.ok for check in checks)
        return json_answer(
            200 if ready else 503,
            {
                "ready": ready,
                "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks],
            },
        )


async def _live(request: web.BaseRequest) -> web.Response:
    """That this is answered is all there is to say: the event loop runs."""
    return json_answer(200, {"live": True})
