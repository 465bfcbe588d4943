"""Fetching: what is tried again, what is not, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from sidecar.core.clock import SystemClock
from tests.fakes import FakeClock
from tests.neon.fetching import FetchFailedError, KeySetFetcher, over_http
from tests.neon.key_set import MAX_SET_BYTES, SetKey
from tests.neon.making import ec_key, jwk_of, key_set
from tests.neon.origin import Lost, Origin, Refused, Reply

GOOD = key_set(jwk_of(ec_key(), "good"))


class Trial:
    """One fetch under a clock that we move."""

    def __init__(self, *replies: Reply | OSError, chance: float = 1.0) -> None:
        self.clock = FakeClock()
        self.replies = list(replies)
        self.origin = Origin(self.clock, self._next)
        self.chance = random.Random()
        self.chance.random = lambda: chance  # type: ignore[method-assign]

    async def outcome(self, seconds: float = 60) -> list[str | None] | str:
        """The kids, or why there are none."""
        fetching = asyncio.create_task(KeySetFetcher(self.origin, self.clock, self.chance).keys("url"))
        await self.clock.advance(seconds)
        try:
            keys: tuple[SetKey, ...] = await asyncio.wait_for(fetching, 1)
        except FetchFailedError as error:
            return str(error)
        return [key.kid for key in keys]

    def _next(self, url: str) -> Reply:
        reply = self.replies.pop(0)
        if isinstance(reply, OSError):
            raise reply
        return reply


@pytest.mark.parametrize(
    "failure",
    [
        *(Reply(status=status) for status in (500, 503, 599, 408, 429)),
        Reply(body=GOOD, before_head=5.1),
        Refused(),
        Lost(),
    ],
)
async def test_what_fails_before_the_head_is_tried_four_times(failure: Reply | OSError) -> None:
    trial = Trial(failure, failure, failure, Reply(body=GOOD))
    assert await trial.outcome() == ["good"]
    assert isinstance(await Trial(*[failure] * 4).outcome(), str)


@pytest.mark.parametrize(
    "failure",
    [
        *(Reply(status=status, body=GOOD) for status in (400, 401, 404)),
        Reply(body=b"<html>"),
        Reply(body=b'{"keys":[]}'),
        Reply(body=GOOD, broken=True),
        Reply(body=GOOD, before_body=5.1),
        Reply(body=GOOD, length=MAX_SET_BYTES + 1),
        Reply(body=GOOD + b" " * MAX_SET_BYTES),
    ],
)
async def test_what_fails_later_is_not_tried_again(failure: Reply) -> None:
    trial = Trial(failure, Reply(body=GOOD))
    assert isinstance(await trial.outcome(), str)
    assert len(trial.origin.asked) == 1


async def test_a_redirect_is_not_followed_and_its_body_is_read() -> None:
    assert await Trial(Reply(status=302, body=GOOD)).outcome() == ["good"]


async def test_waits_are_random_up_to_one_two_and_four_seconds() -> None:
    for chance, asked in ((1.0, [0, 1, 3, 7]), (0.5, [0, 0.5, 1.5, 3.5]), (0.25, [0, 0.25, 0.75, 1.75])):
        trial = Trial(*[Refused()] * 4, chance=chance)
        await trial.outcome()
        assert trial.origin.asked == asked


async def test_an_attempt_has_five_seconds_and_a_connection_two() -> None:
    slow = Trial(*[Reply(body=GOOD, before_head=10)] * 4)
    await slow.outcome()
    assert slow.origin.asked == [0, 6, 13, 22]
    lost = Trial(*[Lost()] * 4)
    await lost.outcome()
    assert lost.origin.asked == [0, 3, 7, 13]
    assert await Trial(Reply(body=GOOD, before_head=2.5, before_body=2.4)).outcome() == ["good"]


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.BaseRequest], object]) -> AsyncIterator[str]:
    """A server on a free port."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        made = handler(request)
        assert isinstance(made, web.StreamResponse)
        return made

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    finally:
        await runner.cleanup()


async def test_over_http_it_says_who_it_is_and_follows_nothing() -> None:
    seen: list[web.BaseRequest] = []

    def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        return web.Response(status=302, headers={"Location": "/elsewhere"}, body=GOOD)

    async with serving(handler) as url:
        keys = await KeySetFetcher(over_http, SystemClock(), random.Random(0)).keys(url)
    assert [key.kid for key in keys] == ["good"]
    assert [(request.method, request.path) for request in seen] == [("GET", "/keys")]
    assert seen[0].headers["User-Agent"] == "neon-proxy"


async def test_over_http_a_compressed_set_cannot_be_read() -> None:
    def handler(request: web.BaseRequest) -> web.Response:
        response = web.Response(body=GOOD)
        response.enable_compression(web.ContentCoding.gzip, strategy=0)
        return response

    async with serving(handler) as url:
        with pytest.raises(FetchFailedError):
            await KeySetFetcher(over_http, SystemClock(), random.Random(0)).keys(url)


async def test_over_http_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="onnect"):
            async with over_http(f"http://127.0.0.1:{unused.getsockname()[1]}/"):
                pass
