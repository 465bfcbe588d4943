"""One exchange: the token that is sent, places, what is tried again, and deadlines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.neon_http import exchange as module
from sidecar.postgres.neon_http.batch import REQUEST_LIMIT, Query, batch_of_queries
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings
from sidecar.postgres.neon_http.target import Target
from tests.fakes import START, FakeClock
from tests.neon.standing import Standing, token
from tests.postgres.scoped import ALICE, PATIENCE

SETTINGS = NeonSettings(target=Target.parse("postgresql://authenticated@ep.neon.test/app"))
BATCH = batch_of_queries([Query(sql="select 1")], 1.0, 0.0)
RESULT = {"fields": [], "rows": [], "command": "SELECT", "rowCount": 0}
ANSWER = json.dumps({"results": [RESULT] * len(BATCH.queries)}).encode()


class Neon:
    """What is on the other side: it answers, or disappoints, one step for each request."""

    def __init__(self, *steps: Exception | bytes) -> None:
        self.steps = list(steps)
        self.headers: list[Mapping[str, str]] = []

    async def post(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes | None]:
        self.headers.append(headers)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return 200, step


def exchange(post: Any, settings: NeonSettings = SETTINGS) -> Exchange:
    return Exchange(post, lambda payload: f"signed {json.dumps(payload)}", settings, FakeClock())


async def sent(scope: Scope, settings: NeonSettings = SETTINGS) -> Mapping[str, str]:
    """The headers of one request."""
    neon = Neon(ANSWER)
    await exchange(neon.post, settings).send(scope, BATCH, 1.0, read_only=False)
    return neon.headers[0]


def claims(headers: Mapping[str, str]) -> Any:
    return json.loads(headers["Authorization"].removeprefix("Bearer signed "))


async def test_claims_are_signed_as_they_are_and_get_an_end() -> None:
    headers = await sent(Scope(subject="alice", payload={"sub": "alice", "exp": int(START) + 7}))
    assert claims(headers) == {"sub": "alice", "exp": int(START) + 7}
    assert headers["Neon-Connection-String"] == "postgresql://authenticated@ep.neon.test/app"
    assert "Neon-Batch-Read-Only" not in headers
    assert claims(await sent(Scope(subject="alice", payload={"sub": "alice"})))["exp"] == int(START) + 60


async def test_a_token_goes_through_unchanged_and_the_role_is_the_scopes() -> None:
    scope = Scope(subject="alice", payload={"sub": "alice"}, token="a.b.c", role="editor")
    headers = await sent(scope)
    assert headers["Authorization"] == "Bearer a.b.c"
    assert headers["Neon-Connection-String"].startswith("postgresql://editor@")


async def test_the_audience_is_in_every_token() -> None:
    wanted = replace(SETTINGS, audience="neon")
    scope = Scope(subject="alice", payload={"sub": "alice"}, token="a.b.c")
    assert claims(await sent(scope, wanted))["aud"] == "neon"
    other = replace(scope, payload={"sub": "alice", "aud": ["one", "two"]})
    assert claims(await sent(other, wanted))["aud"] == ["one", "two", "neon"]
    own = replace(scope, payload={"sub": "alice", "aud": "neon"})
    assert (await sent(own, wanted))["Authorization"] == "Bearer a.b.c"


async def test_neon_takes_what_is_signed(there: Standing) -> None:
    given = token(there, "alice", tenant_id="acme")
    scope = there.issuer.scope_of_token(given)
    await there.backend.who_am_i(scope)
    assert there.endpoint.asked[-1].headers["Authorization"] == f"Bearer {given}"
    changed = replace(scope, payload={**scope.payload, "tenant_id": "globex"}, token=None)
    seen = await there.backend.who_am_i(changed)
    assert json.loads(seen.session or "") == changed.payload
    fresh = there.endpoint.asked[-1].headers["Authorization"].removeprefix("Bearer ")
    assert fresh != given
    assert jwt.decode(fresh, options={"verify_signature": False}) == changed.payload


LOST, NOT_SENT = ConnectionResetError("lost"), ConnectionRefusedError("refused")


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("steps", [[NOT_SENT, ANSWER], [ANSWER]])
async def test_what_was_not_sent_is_sent_again(steps: list[Any], read_only: bool) -> None:
    neon = Neon(*steps)
    found = await exchange(neon.post).send(ALICE, BATCH, 1.0, read_only=read_only)
    assert (len(found), neon.steps) == (1, [])


async def test_what_may_have_been_sent_is_sent_again_only_for_reads() -> None:
    neon = Neon(LOST, ANSWER)
    assert await exchange(neon.post).send(ALICE, BATCH, 1.0, read_only=True)
    neon = Neon(LOST, ANSWER)
    with pytest.raises(UsherError) as refused:
        await exchange(neon.post).send(ALICE, BATCH, 1.0, read_only=False)
    assert (refused.value.reason, refused.value.metadata["sqlstate"]) == (Reason.DATABASE_ERROR, "08007")
    assert len(neon.headers) == 1


@pytest.mark.parametrize(
    ("steps", "read_only", "reason", "told"),
    [
        ([NOT_SENT, NOT_SENT], True, Reason.DATABASE_UNAVAILABLE, ["refused"]),
        ([NOT_SENT, NOT_SENT], False, Reason.DATABASE_UNAVAILABLE, ["refused"]),
        ([LOST, LOST], True, Reason.DATABASE_UNAVAILABLE, []),
        ([NOT_SENT, LOST], False, Reason.DATABASE_ERROR, []),
    ],
)
async def test_one_more_try_and_no_more(
    steps: list[Any], read_only: bool, reason: Reason, told: list[str]
) -> None:
    neon, heard = Neon(*steps, ANSWER), list[str]()
    asking = exchange(neon.post)
    asking.on_lost = heard.append
    with pytest.raises(UsherError) as refused:
        await asking.send(ALICE, BATCH, 1.0, read_only=read_only)
    assert (refused.value.reason, heard, len(neon.steps)) == (reason, told, 1)
    assert asking.counts == (0, 0)


@pytest.mark.parametrize(
    ("read_only", "reason"), [(True, Reason.STATEMENT_TIMEOUT), (False, Reason.DATABASE_ERROR)]
)
async def test_an_answer_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, read_only: bool, reason: Reason
) -> None:
    async def post(headers: Mapping[str, str], body: bytes) -> tuple[int, bytes | None]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "_SLACK_SECONDS", 0.01)
    with pytest.raises(UsherError) as refused:
        await exchange(post).send(ALICE, BATCH, 0.01, read_only=read_only)
    assert refused.value.reason is reason


def gate() -> tuple[Callable[..., Any], asyncio.Event, asyncio.Event]:
    """A post that says when it is reached and answers when it may."""
    reached, may = asyncio.Event(), asyncio.Event()

    async def post(headers: Mapping[str, str], body: bytes) -> tuple[int, bytes | None]:
        reached.set()
        await may.wait()
        return 200, ANSWER

    return post, reached, may


async def test_so_many_at_once_and_no_more() -> None:
    post, reached, may = gate()
    asking = exchange(post, replace(SETTINGS, concurrency=1, acquire_timeout=0.01))
    first = asyncio.create_task(asking.send(ALICE, BATCH, 5.0, read_only=True))
    await asyncio.wait_for(reached.wait(), PATIENCE)
    assert asking.counts == (1, 0)
    with pytest.raises(UsherError) as refused:
        await asking.send(ALICE, BATCH, 5.0, read_only=True)
    assert refused.value.reason is Reason.POOL_EXHAUSTED
    may.set()
    await first
    assert asking.counts == (0, 0)
    assert await asking.send(ALICE, BATCH, 5.0, read_only=True)


async def test_a_cancelled_call_leaves_its_place() -> None:
    post, reached, _ = gate()
    asking = exchange(post, replace(SETTINGS, concurrency=1))
    first = asyncio.create_task(asking.send(ALICE, BATCH, 5.0, read_only=True))
    await asyncio.wait_for(reached.wait(), PATIENCE)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert asking.counts == (0, 0)


async def test_a_request_longer_than_neon_takes_is_not_sent() -> None:
    neon = Neon()
    huge = batch_of_queries([Query(sql="select $1", parameters=("x" * REQUEST_LIMIT,))], 1.0, 0.0)
    with pytest.raises(UsherError) as refused:
        await exchange(neon.post).send(ALICE, huge, 1.0, read_only=True)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.metadata["field"] == "parameters"


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"concurrency": 1001}, {"acquire_timeout": 0.0}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    SETTINGS.validate()
    with pytest.raises(SettingsError):
        replace(SETTINGS, **wrong).validate()
