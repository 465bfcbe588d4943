"""KeyService on its own Unix socket: what it shows, and what it does to the ring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from usher.v1 import key_service_pb2 as pb

from sidecar.core.callers import ANONYMOUS
from sidecar.core.following import Follower
from sidecar.core.key_store import Beat, Fetch
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.policy import Authorizer
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import Rotator, join
from sidecar.core.rotation_settings import RotationSettings
from sidecar.core.signer import Signer
from sidecar.services.access import Listener
from sidecar.services.key_service import KeyService
from tests.fakes import START, FakeClock, Recorder
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
        "next_step",
        "served_time",
        "waits_for_replicas",
        "waits_for_verifiers",
        "goes_on_time",
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
    # A cache in front may keep it for five minutes more, and a verifier for an hour after that.
    assert answer.verifiers_may_accept_until_time.seconds == int(START) + 300 + 3600
    assert answer.leave_time.seconds == int(START)
    assert list(answer.unconfirmed_replicas) == []
    keys = await listed(there)
    assert first.kid not in [key.kid for key in keys]
    assert [key.state for key in keys] == [pb.KEY_STATE_ACTIVE, pb.KEY_STATE_PREPARED]


async def test_a_key_may_go_on_for_a_while_before_it_is_revoked(there: Running) -> None:
    first, second = await listed(there)
    request = pb.RevokeKeyRequest(kid=first.kid, delay=Duration(seconds=600))
    answer = await there.answer(REVOKE_KEY, request, pb.RevokeKeyResponse)
    assert answer.active.kid == first.kid
    assert answer.leave_time.seconds == int(START) + 600
    assert answer.verifiers_may_accept_until_time.seconds == int(START) + 600 + 300 + 3600
    revoked, _ = await listed(there)
    assert (revoked.next_step, revoked.next_step_time.seconds) == (pb.KEY_STEP_REVOKE, int(START) + 600)
    assert second.kid in [key.kid for key in await listed(there)]
    for delay in (Duration(seconds=-1), Duration(seconds=86_401)):
        refused = await there.refusal(REVOKE_KEY, pb.RevokeKeyRequest(kid=first.kid, delay=delay))
        assert refused.reason == "INVALID_FIELD"


class Fleet:
    """The service of one of two replicas that share a store, and wait for a verifier."""

    def __init__(self) -> None:
        self.clock, self.seen = FakeClock(), Recorder()
        self.store = MemoryKeyStore(self.clock, shared=True)
        self.settings = RotationSettings(verifiers=("neon-proxy",))

    async def start(self) -> Fleet:
        self.follower = Follower(self.store, self.settings, RingClock(self.clock), self.seen)
        self.other = Follower(self.store, self.settings, RingClock(self.clock), self.seen)
        ring = await join(self.follower, self.settings, self.seen)
        await join(self.other, self.settings, self.seen)
        signer = Signer(ring, self.settings, "https://issuer.example", self.follower.clock, self.seen)
        self.rotator = Rotator(signer, self.settings, self.clock, self.seen, self.follower)
        self.service = KeyService(
            signer, self.rotator, self.settings, self.follower.clock, Authorizer(None, self.clock, self.seen)
        )
        return self

    async def listing(self) -> pb.ListKeysResponse:
        return pb.ListKeysResponse.FromString(await self.service.list_keys(pb.ListKeysRequest(), ANONYMOUS))


async def test_a_listing_says_who_serves_and_fetches_and_what_a_key_waits_for() -> None:
    fleet = await Fleet().start()
    await fleet.rotator.do_what_is_due()
    await fleet.rotator.rotate(force=True)
    await fleet.clock.advance(3)
    listing = await fleet.listing()
    retired, _, prepared = listing.keys
    other, own = fleet.other.replica, fleet.follower.replica
    assert listing.store.kind == "memory"
    assert listing.store.version == fleet.follower.ring.version
    assert listing.read_time.seconds == int(START) + 3
    assert listing.store.reach_time.seconds == int(START)
    assert {replica.id: replica.self for replica in listing.replicas} == {own: True, other: False}
    # The other replica has not heard of the new ring: it signs with the old key, and serves the old set.
    assert list(retired.waits_for_replicas) == [other]
    assert (retired.next_step, retired.HasField("next_step_time")) == (pb.KEY_STEP_DROP, False)
    assert list(prepared.waits_for_replicas) == [other]
    assert list(prepared.waits_for_verifiers) == ["neon-proxy"]
    assert (prepared.next_step, prepared.HasField("next_step_time")) == (pb.KEY_STEP_ACTIVATE, False)
    assert not prepared.HasField("served_time")
    [verifier] = listing.verifiers
    assert (verifier.name, verifier.HasField("fetch_time")) == ("neon-proxy", False)


async def test_a_listing_once_everyone_has_the_key() -> None:
    fleet = await Fleet().start()
    await fleet.rotator.do_what_is_due()
    await fleet.rotator.do_what_is_due()
    _, prepared = (await fleet.listing()).keys
    assert prepared.served_time.seconds == int(START)
    assert prepared.next_step_time.seconds == int(START) + 86_400
    assert prepared.goes_on_time.seconds == int(START) + 86_400 + 3600
    version = fleet.follower.ring.version
    await fleet.store.record(
        Beat(replica="third", version=version, signs_until=START, token_ttl=1, skew=-2.5),
        [
            Fetch(verifier="neon-proxy", version=version, at=START),
            Fetch(verifier="*", version=version, at=START),
        ],
    )
    await fleet.rotator.do_what_is_due()
    listing = await fleet.listing()
    assert list(listing.keys[1].waits_for_verifiers) == []
    assert not listing.keys[1].HasField("goes_on_time")
    assert [(verifier.name, verifier.version) for verifier in listing.verifiers] == [
        ("neon-proxy", version),
        ("*", version),
    ]
    assert {replica.id: replica.clock_skew_seconds for replica in listing.replicas}["third"] == -2.5


async def test_a_revocation_names_replicas_that_have_not_confirmed(monkeypatch: Any) -> None:
    fleet = await Fleet().start()
    await fleet.rotator.do_what_is_due()
    kid = fleet.follower.ring.keys[0].key.kid
    # The patience of the answer is real time otherwise.
    monkeypatch.setattr("sidecar.core.rotation._PATIENCE_SECONDS", 0.0)
    answer = pb.RevokeKeyResponse.FromString(
        await fleet.service.revoke_key(pb.RevokeKeyRequest(kid=kid), ANONYMOUS)
    )
    assert list(answer.unconfirmed_replicas) == [fleet.other.replica]


async def test_an_unknown_key_cannot_be_revoked(there: Running) -> None:
    refused = await there.refusal(REVOKE_KEY, pb.RevokeKeyRequest(kid="secret-kid"))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "KEY_UNKNOWN")
    assert "secret-kid" not in repr(refused)
    assert len(await listed(there)) == 2
