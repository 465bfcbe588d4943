"""What `usher doctor` asks of the key store."""

from __future__ import annotations

from typing import Final

from sidecar.app.key_stores import postgres_store
from sidecar.config import Config
from sidecar.config.key_settings import MEMORY
from sidecar.config.neon_settings import NEON_HTTP
from sidecar.core import diagnosis, gating, keyring
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import CLOCK_WARNING_SECONDS, Diagnosis, failed, ok, trouble, warning
from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.key_store import Snapshot
from sidecar.core.rotation_settings import RotationSettings

STORE: Final = "key_store"


async def look(config: Config, clock: Clock) -> list[Diagnosis]:
    """Reads the store as a replica does, and opens its keys. It says nothing of itself there."""
    if config.key_store == MEMORY:
        return [_memory(config)]
    try:
        store = await postgres_store(config, clock)
        try:
            snapshot = await store.load()
        finally:
            await store.close()
    except (UsherError, SettingsError) as error:
        return [trouble(STORE, error.message if isinstance(error, UsherError) else str(error))]
    ahead = clock.now() - snapshot.now
    found = [*_keys(snapshot, config.rotation_settings), *_replicas(snapshot, config.rotation_settings)]
    if store.resealable:
        found.append(
            warning(
                STORE,
                f"{len(store.resealable)} keys are sealed with another key_encryption_key than the first",
                "`usher keys reseal`, then leave the old one out",
            )
        )
    if abs(ahead) > CLOCK_WARNING_SECONDS:
        found.append(diagnosis.clock(STORE, ahead, "the key store's"))
    counts = f"{len(snapshot.ring.keys)} keys, {len(snapshot.replicas)} replicas"
    return found or [ok(STORE, f"its keys can be opened, and replicas agree ({counts})")]


def _memory(config: Config) -> Diagnosis:
    if config.issuer or config.database_backend == NEON_HTTP:
        return warning(
            STORE,
            "keys are kept in memory: after a restart verifiers refuse tokens until they fetch the new keys",
            "set key_store to postgres, after `usher keys install`",
        )
    return ok(STORE, "keys are kept in memory, and nobody but Usher itself has to know them")


def _keys(snapshot: Snapshot, settings: RotationSettings) -> list[Diagnosis]:
    ring, now = snapshot.ring, snapshot.now
    if ring.active is None:
        return [warning(STORE, "it holds no key yet", "start a sidecar, which makes the first")]
    if not keyring.may_sign(ring.active, now, settings):
        return [
            failed(
                STORE,
                "the active key is past its hard end, and no other has taken over",
                "start a sidecar; its log says why rotation fails",
            )
        ]
    waiting = gating.waiting(snapshot, now, settings)
    if now >= waiting.due and waiting.held(now):
        return [
            warning(
                STORE,
                f"the next key waits for {', '.join(waiting.verifiers)}, which has not fetched it",
                "look whether its URL leads here, and at caches between",
            )
        ]
    return []


def _replicas(snapshot: Snapshot, settings: RotationSettings) -> list[Diagnosis]:
    now = snapshot.now
    reachable = [replica for replica in snapshot.replicas if gating.reachable(replica, now, settings)]
    found = []
    if behind := gating.unconfirmed(snapshot, snapshot.ring.version, now, settings):
        found.append(
            warning(
                STORE,
                f"{len(behind)} of {len(reachable)} replicas do not serve the newest ring",
                "look again soon; one that was killed is waited for, one that is cut off must be mended",
            )
        )
    skewed = [replica for replica in reachable if abs(replica.skew) > CLOCK_WARNING_SECONDS]
    if skewed:
        worst = max(abs(replica.skew) for replica in skewed)
        found.append(
            warning(
                STORE,
                f"the clocks of {len(skewed)} replicas differ from the store's, by {worst:.1f} s at most",
                "let them follow NTP; beyond 60 s a replica signs nothing",
            )
        )
    return found
