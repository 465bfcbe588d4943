"""KeyService: list, rotate and revoke signing keys."""

from __future__ import annotations

from typing import Final

from usher.v1 import key_service_pb2 as pb

from sidecar.core.callers import Caller
from sidecar.core.clock import Clock
from sidecar.core.keyring import KeyRing, KeyState, RingKey, step_time
from sidecar.core.policy import Ask, Authorizer
from sidecar.core.rotation import Rotator
from sidecar.core.rotation_settings import VERIFIER_CACHE_SECONDS, RotationSettings
from sidecar.core.signer import Signer
from sidecar.rpc.convert import timestamp

_STATES: Final = {
    KeyState.PREPARED: pb.KEY_STATE_PREPARED,
    KeyState.ACTIVE: pb.KEY_STATE_ACTIVE,
    KeyState.RETIRED: pb.KEY_STATE_RETIRED,
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
        self._signer = signer
        self._rotator = rotator
        self._settings = settings
        self._clock = clock
        self._authorizer = authorizer

    async def list_keys(self, request: pb.ListKeysRequest, caller: Caller) -> bytes:
        """Every published key, oldest first."""
        self._authorizer.decide(caller, Ask(method="ListKeys"))
        ring = self._signer.ring
        return pb.ListKeysResponse(keys=[self._key(key, ring) for key in ring.keys]).SerializeToString()

    async def rotate_keys(self, request: pb.RotateKeysRequest, caller: Caller) -> bytes:
        """Lets the prepared key sign now."""
        self._authorizer.decide(caller, Ask(method="RotateKeys"))
        active, retired = await self._rotator.rotate(force=request.force)
        ring = self._signer.ring
        return pb.RotateKeysResponse(
            active=self._key(active, ring), retired=self._key(retired, ring)
        ).SerializeToString()

    async def revoke_key(self, request: pb.RevokeKeyRequest, caller: Caller) -> bytes:
        """Takes a key out of the set at once."""
        self._authorizer.decide(caller, Ask(method="RevokeKey"))
        revoked = await self._rotator.revoke(request.kid)
        active = revoked.active
        return pb.RevokeKeyResponse(
            active=self._key(active, self._signer.ring),
            verifiers_may_accept_until_time=timestamp(self._clock.now() + VERIFIER_CACHE_SECONDS),
        ).SerializeToString()

    def _key(self, key: RingKey, ring: KeyRing) -> pb.Key:
        return pb.Key(
            kid=key.key.kid,
            alg=key.key.algorithm.value,
            state=_STATES[key.state],
            publish_time=timestamp(key.published_at),
            activate_time=None if key.activated_at is None else timestamp(key.activated_at),
            retire_time=None if key.retired_at is None else timestamp(key.retired_at),
            next_step_time=timestamp(step_time(key, ring, self._settings)),
        )
