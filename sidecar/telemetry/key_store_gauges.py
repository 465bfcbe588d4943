"""Gauges of the key store, read when Prometheus asks: what this replica knows of it and of the others."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.core import gating
from sidecar.core.following import Follower
from sidecar.core.key_store import OTHERS
from sidecar.core.rotation_settings import VERIFIER_CACHE_SECONDS, RotationSettings


class KeyStoreGauges(Collector):
    """One replica's side of a key store. Empty until there is one."""

    def __init__(self) -> None:
        self._watched: tuple[Follower, RotationSettings] | None = None
        self._since = 0.0

    def watch(self, follower: Follower, settings: RotationSettings) -> None:
        """Reads this follower from now on."""
        self._watched = follower, settings
        self._since = follower.clock.monotonic()

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        info = GaugeMetricFamily(
            "usher_key_store_info",
            "Where the key ring lives: always 1. In memory it ends with the process.",
            labels=["kind"],
        )
        gap = GaugeMetricFamily(
            "usher_key_store_gap_seconds",
            "How much longer verifiers may refuse tokens because keys did not outlive a restart; 0: no gap.",
        )
        version = GaugeMetricFamily("usher_key_store_version", "Version of the ring that is served here.")
        silent = GaugeMetricFamily(
            "usher_key_store_silent_seconds", "Time since the key store was last read and told."
        )
        skew = GaugeMetricFamily(
            "usher_key_store_skew_seconds", "How far this machine's clock is ahead of the key store's."
        )
        replicas = GaugeMetricFamily(
            "usher_key_replicas", "Replicas that share the key ring, by what they serve.", labels=["state"]
        )
        waits = GaugeMetricFamily(
            "usher_key_activation_waits",
            "Whom the next key waits for that is due to sign: replicas and named verifiers.",
            labels=["for"],
        )
        fetched = GaugeMetricFamily(
            "usher_verifier_last_fetch_timestamp_seconds",
            "When a named verifier last fetched the JWKS from any replica.",
            labels=["verifier"],
        )
        if self._watched is not None:
            follower, settings = self._watched
            snapshot, now = follower.snapshot, follower.clock.now()
            info.add_metric([follower.store.kind], 1)
            gap.add_metric([], self._gap(follower, settings))
            version.add_metric([], follower.ring.version)
            silent.add_metric([], follower.silent_seconds)
            skew.add_metric([], follower.clock.skew)
            for state, count in _replicas(follower, settings).items():
                replicas.add_metric([state], count)
            waiting = gating.waiting(snapshot, now, settings)
            late = now >= waiting.due
            waits.add_metric(["replica"], len(waiting.replicas))
            waits.add_metric(["verifier"], len(waiting.verifiers) if late else 0)
            for fetch in snapshot.fetches:
                if fetch.verifier != OTHERS:
                    fetched.add_metric([fetch.verifier], fetch.at)
        return info, gap, version, silent, skew, replicas, waits, fetched

    def _gap(self, follower: Follower, settings: RotationSettings) -> float:
        """For as long as a verifier, or a cache in front of it, may have a set from before the start."""
        if follower.store.lasting:
            return 0.0
        passed = follower.clock.monotonic() - self._since
        return max(0.0, VERIFIER_CACHE_SECONDS + settings.max_age - passed)


def _replicas(follower: Follower, settings: RotationSettings) -> dict[str, int]:
    """How many replicas serve the ring that is served here, serve an older one, or have fallen silent."""
    counts = {"current": 0, "behind": 0, "silent": 0}
    for replica in follower.snapshot.replicas:
        if not gating.reachable(replica, follower.clock.now(), settings):
            counts["silent"] += 1
        else:
            counts["current" if replica.version >= follower.ring.version else "behind"] += 1
    return counts
