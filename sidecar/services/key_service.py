"""KeyService: list, rotate and revoke signing keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from usher.v1 import key_service_pb2 as pb

from sidecar.core import gating
from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.key_store import Snapshot
from sidecar.core.keyring import NEVER, KeyState, RingKey, step_time
from sidecar.core.policy import Ask, Authorizer
from sidecar.core.rotation import Rotator
from sidecar.core.rotation_settings import RotationSettings
from sidecar.core.signer import Signer
from sidecar.services.convert import timestamp

_STATES: Final = {
    KeyState.PREPARED: pb.KEY_STATE_PREPARED,
    KeyState.ACTIVE: pb.KEY_STATE_ACTIVE,
    KeyState.RETIRED: pb.KEY_STATE_RETIRED,
}
_STEPS: Final = {
    KeyState.PREPARED: pb.KEY_STEP_ACTIVATE,
    KeyState.ACTIVE: pb.KEY_STEP_RETIRE,
    KeyState.RETIRED: pb.KEY_STEP_DROP,
}


class KeyService:
    """Methods of usher.v1.KeyService."""

    def __init__(
        self,
        signer: Signer,
        rotator: Rotator,
        settings: RotationSettings,
        clock: Clock,
        authorizer: Authorizer,
    ) -> None:
        """`clock` is the one by which keys change."""
        self._signer = signer
        self._rotator = rotator
        self._settings = settings
        self._clock = clock
        self._authorizer = authorizer

    async def list_keys(self, request: pb.ListKeysRequest, caller: Caller) -> bytes:
        """Every published key, oldest first, and who serves and fetches them."""
        self._authorizer.decide(caller, Ask(method="ListKeys"))
        follower, snapshot = self._rotator.follower, self._snapshot()
        now = self._clock.now()
        return pb.ListKeysResponse(
            keys=[self._key(key, snapshot) for key in snapshot.ring.keys],
            store=pb.KeyStoreState(
                kind=follower.store.kind,
                version=snapshot.ring.version,
                reach_time=timestamp(now - follower.silent_seconds),
            ),
            replicas=[
                pb.Replica(
                    id=replica.id,
                    version=replica.version,
                    seen_time=timestamp(replica.seen_at),
                    self=replica.id == follower.replica,
                    clock_skew_seconds=replica.skew,
                )
                for replica in snapshot.replicas
            ],
            verifiers=self._verifiers(snapshot),
            read_time=timestamp(now),
        ).SerializeToString()

    async def rotate_keys(self, request: pb.RotateKeysRequest, caller: Caller) -> bytes:
        """Lets the prepared key sign now."""
        self._authorizer.decide(caller, Ask(method="RotateKeys"))
        active, retired = await self._rotator.rotate(force=request.force)
        snapshot = self._snapshot()
        return pb.RotateKeysResponse(
            active=self._key(active, snapshot), retired=self._key(retired, snapshot)
        ).SerializeToString()

    async def revoke_key(self, request: pb.RevokeKeyRequest, caller: Caller) -> bytes:
        """Takes a key out of the set, at once or later."""
        self._authorizer.decide(caller, Ask(method="RevokeKey"))
        delay = request.delay.seconds + request.delay.nanos / 1e9
        revoked = await self._rotator.revoke(request.kid, delay)
        return pb.RevokeKeyResponse(
            active=self._key(revoked.active, self._snapshot()),
            verifiers_may_accept_until_time=timestamp(revoked.accepted_until),
            leave_time=timestamp(revoked.leaves_at),
            unconfirmed_replicas=revoked.unconfirmed,
        ).SerializeToString()

    def _snapshot(self) -> Snapshot:
        """What is known of the store, and the ring that is in force here."""
        return replace(self._rotator.follower.snapshot, ring=self._signer.ring)

    def _verifiers(self, snapshot: Snapshot) -> list[pb.Verifier]:
        seen = {fetch.verifier: fetch for fetch in snapshot.fetches}
        found = []
        for name in dict.fromkeys((*self._settings.verifiers, *sorted(seen))):
            fetch = seen.get(name)
            found.append(
                pb.Verifier(
                    name=name,
                    fetch_time=None if fetch is None else timestamp(fetch.at),
                    version=0 if fetch is None else fetch.version,
                )
            )
        return found

    def _key(self, key: RingKey, snapshot: Snapshot) -> pb.Key:
        now, prepared = self._clock.now(), key.state is KeyState.PREPARED
        due = step_time(key, snapshot.ring, self._settings)
        waiting = gating.waiting(snapshot, now, self._settings)
        revoked = key.revoke_at is not None and key.revoke_at <= due
        return pb.Key(
            kid=key.key.kid,
            alg=key.key.algorithm.value,
            state=_STATES[key.state],
            publish_time=timestamp(key.published_at),
            activate_time=_optional(key.activated_at),
            retire_time=_optional(key.retired_at),
            next_step_time=_optional(due),
            next_step=pb.KEY_STEP_REVOKE if revoked else _STEPS[key.state],
            served_time=_optional(key.served_at),
            waits_for_replicas=(
                waiting.replicas if prepared else gating.may_sign_with(key, snapshot.replicas, now)
            ),
            waits_for_verifiers=waiting.verifiers if prepared else (),
            goes_on_time=_optional(waiting.goes_on) if prepared and waiting.verifiers else None,
        )


def _optional(moment: float | None) -> Timestamp | None:
    return None if moment is None or moment == NEVER else timestamp(moment)
