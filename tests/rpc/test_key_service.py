"""KeyService on its own Unix socket: what it shows, and what it does to the ring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from usher.v1 import key_service_pb2 as pb

from sidecar.rpc.access import Listener
from sidecar.rpc.key_service import VERIFIER_CACHE_SECONDS
from tests.fakes import START
from tests.rpc.running import LIST_KEYS, REVOKE_KEY, ROTATE_KEYS, Running, running

LEAD = 3900


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Listener.ADMIN, f"unix:{tmp_path}/admin.sock") as there:
        yield there


async def listed(there: Running) -> list[pb.Key]:
    return list((await there.answer(LIST_KEYS, pb.ListKeysRequest(), pb.ListKeysResponse)).keys)


async def test_keys_are_listed_oldest_first(there: Running) -> None:
    active, prepared = await listed(there)
    assert [key.state for key in (active, prepared)] == [pb.KEY_STATE_ACTIVE, pb.KEY_STATE_PREPARED]
    assert [key.kid for key in (active, prepared)] == [key.key.kid for key in there.signer.ring.keys]
    assert active.alg == "ES256"
    assert active.publish_time.seconds == active.activate_time.seconds == int(START)
    assert not prepared.HasField("activate_time")
    assert not active.HasField("retire_time")
    assert active.next_step_time.seconds == prepared.next_step_time.seconds == int(START) + 86_400


async def test_a_key_shows_no_private_half(there: Running) -> None:
    assert {field.name for field in pb.Key.DESCRIPTOR.fields} == {
        "kid",
        "alg",
        "state",
        "publish_time",
        "activate_time",
        "retire_time",
        "next_step_time",
    }


async def test_a_rotation_waits_for_the_lead_time(there: Running) -> None:
    refused = await there.refusal(ROTATE_KEYS, pb.RotateKeysRequest())
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LEAD_TIME_NOT_ELAPSED")
    assert refused.metadata["ready_time"] == str(int(START) + LEAD)
    assert [key.state for key in await listed(there)] == [pb.KEY_STATE_ACTIVE, pb.KEY_STATE_PREPARED]


@pytest.mark.parametrize("force", [False, True])
async def test_a_rotation(there: Running, force: bool) -> None:
    first, second = await listed(there)
    if not force:
        await there.clock.advance(LEAD)
    now = int(there.clock.now())
    answer = await there.answer(ROTATE_KEYS, pb.RotateKeysRequest(force=force), pb.RotateKeysResponse)
    assert (answer.active.kid, answer.active.state) == (second.kid, pb.KEY_STATE_ACTIVE)
    assert (answer.retired.kid, answer.retired.state) == (first.kid, pb.KEY_STATE_RETIRED)
    assert answer.retired.retire_time.seconds == now
    assert answer.retired.next_step_time.seconds == now + 3600 + 120
    assert answer.active.activate_time.seconds == now
    states = [key.state for key in await listed(there)]
    assert states == [pb.KEY_STATE_RETIRED, pb.KEY_STATE_ACTIVE, pb.KEY_STATE_PREPARED]


async def test_a_revoked_key_is_gone_at_once(there: Running) -> None:
    first, second = await listed(there)
    answer = await there.answer(REVOKE_KEY, pb.RevokeKeyRequest(kid=first.kid), pb.RevokeKeyResponse)
    assert answer.active.kid == second.kid
    assert answer.verifiers_may_accept_until_time.seconds == int(START) + VERIFIER_CACHE_SECONDS
    keys = await listed(there)
    assert first.kid not in [key.kid for key in keys]
    assert [key.state for key in keys] == [pb.KEY_STATE_ACTIVE, pb.KEY_STATE_PREPARED]


async def test_an_unknown_key_cannot_be_revoked(there: Running) -> None:
    refused = await there.refusal(REVOKE_KEY, pb.RevokeKeyRequest(kid="secret-kid"))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "KEY_UNKNOWN")
    assert "secret-kid" not in repr(refused)
    assert len(await listed(there)) == 2
