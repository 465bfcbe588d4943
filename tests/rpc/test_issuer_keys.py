"""Another issuer's keys: fetched in the background, asked for again when a kid is new, kept on failure."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from sidecar.core.errors import UsherError
from sidecar.core.events import CallerKeysFetched
from sidecar.core.keys import Algorithm, generate
from sidecar.services import issuer_keys
from sidecar.services.issuer_keys import (
    COOL_DOWN_SECONDS,
    MOST_WAITING,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    IssuerKeys,
)
from tests.fakes import FakeClock, Recorder
from tests.rpc.running import PATIENCE

A, B = (dict(generate(Algorithm.ES256, 0).public.jwk) for _ in range(2))


@dataclass
class Endpoint:
    """Answers with what it is told to, when it is told to."""

    document: bytes | Exception
    asked: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self) -> bytes:
        self.asked += 1
        await self.free.wait()
        if isinstance(self.document, Exception):
            raise self.document
        return self.document


def key_set(*keys: dict[str, str]) -> bytes:
    return json.dumps({"keys": keys}).encode()


@dataclass
class Watched:
    """Keys that are kept fresh, from an endpoint."""

    keys: IssuerKeys
    endpoint: Endpoint
    clock: FakeClock
    seen: Recorder

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.seen.of(CallerKeysFetched)]

    async def has(self, kid: str) -> bool:
        try:
            return (await self.keys.find(kid)).kid == kid
        except UsherError as error:
            return (error.reason, error.metadata) != ("CALLER_UNAUTHENTICATED", {"proof": "jwt"})


@contextlib.asynccontextmanager
async def watched(document: bytes | Exception, *, free: bool = True) -> AsyncIterator[Watched]:
    clock, seen, endpoint = FakeClock(), Recorder(), Endpoint(document)
    if free:
        endpoint.free.set()
    keys = IssuerKeys(endpoint.fetch, clock, seen)
    running = asyncio.create_task(keys.run())
    try:
        await clock.settle()
        yield Watched(keys, endpoint, clock, seen)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_keys_are_there_after_the_start() -> None:
    async with watched(key_set(A)) as there:
        assert await there.has(A["kid"])
        assert there.keys.known(A["kid"]) is not None
        assert there.keys.trouble() is None
        assert there.seen.events == [CallerKeysFetched(outcome="fetched", keys=1)]


async def test_a_call_waits_for_the_first_fetch() -> None:
    async with watched(key_set(A), free=False) as there:
        assert there.keys.trouble() is not None
        waiting = asyncio.create_task(there.has(A["kid"]))
        await there.clock.settle()
        assert not waiting.done()
        there.endpoint.free.set()
        assert await asyncio.wait_for(waiting, PATIENCE)
        await there.clock.settle()
        assert there.endpoint.asked == 1, "the fetch that was on its way was enough"


async def test_a_call_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "PATIENCE_SECONDS", 0.02)
    async with watched(key_set(A), free=False) as there:
        assert not await asyncio.wait_for(there.has(A["kid"]), PATIENCE)


async def test_a_new_kid_is_asked_for_once_the_cool_down_is_over() -> None:
    async with watched(key_set(A)) as there:
        there.endpoint.document = key_set(A, B)
        assert not await there.has(B["kid"])
        assert there.endpoint.asked == 1
        await there.clock.advance(COOL_DOWN_SECONDS)
        assert await there.has(B["kid"])
        assert await there.has(A["kid"])
        assert there.endpoint.asked == 2


async def test_unknown_kids_cannot_hammer_the_issuer() -> None:
    async with watched(key_set(A)) as there:
        await there.clock.advance(COOL_DOWN_SECONDS)
        there.endpoint.free.clear()
        crowd = [asyncio.create_task(there.has(f"kid-{number}")) for number in range(100)]
        await there.clock.settle()
        there.endpoint.free.set()
        assert not any(await asyncio.gather(*crowd))
        for number in range(100):
            assert not await there.has(f"late-{number}")
        await there.clock.settle()
        assert there.endpoint.asked == 2


async def test_strangers_do_not_crowd_the_waiting_room() -> None:
    async with watched(key_set(A), free=False) as there:
        crowd = [asyncio.create_task(there.has(A["kid"])) for _ in range(MOST_WAITING)]
        await there.clock.settle()
        assert not await there.has(A["kid"])  # at once
        there.endpoint.free.set()
        assert all(await asyncio.gather(*crowd))
        assert await there.has(A["kid"])


async def test_a_fetch_that_fails_leaves_the_keys_as_they_were() -> None:
    async with watched(key_set(A)) as there:
        for failure in (
            OSError("the server answered 503"),
            b"not json",
            b'{"keys":[]}',
            RuntimeError("hunter2"),
        ):
            there.endpoint.document = failure
            await there.clock.advance(REFRESH_SECONDS)
            assert await there.has(A["kid"])
            assert there.keys.trouble() is None
        details = [event.detail for event in there.seen.of(CallerKeysFetched) if event.outcome == "failed"]
        assert details[0] == "the server answered 503"
        assert "not JSON" in details[1]
        assert "hunter2" not in str(details)
        assert {event.keys for event in there.seen.of(CallerKeysFetched)} == {1}


async def test_a_time_out_has_a_name() -> None:
    async with watched(TimeoutError()) as there:
        assert there.seen.events == [CallerKeysFetched(outcome="failed", keys=0, detail="TimeoutError")]


async def test_a_failed_fetch_is_tried_again_sooner() -> None:
    async with watched(OSError("down")) as there:
        assert not await there.has(A["kid"])
        assert there.keys.trouble() is not None
        there.endpoint.document = key_set(A)
        await there.clock.advance(RETRY_SECONDS)
        assert there.outcomes == ["failed", "fetched"]
        assert await there.has(A["kid"])
        await there.clock.advance(RETRY_SECONDS)
        assert there.endpoint.asked == 2


async def test_a_key_that_is_taken_back_is_gone_after_a_refresh() -> None:
    async with watched(key_set(A, B)) as there:
        there.endpoint.document = key_set(B)
        await there.clock.advance(REFRESH_SECONDS)
        assert there.keys.known(A["kid"]) is None
        assert not await there.has(A["kid"])
