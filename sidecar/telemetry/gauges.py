"""Gauges that are read when Prometheus asks: the key ring, the clock and the pool change between events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.core.clock import Clock
from sidecar.core.deny_list import By
from sidecar.core.keyring import KeyRing, KeyState, PublishedKeys, RingKey, states, step_time
from sidecar.core.publication import MAX_JWKS_BYTES
from sidecar.core.revocations import Revocations
from sidecar.core.rotation_settings import RotationSettings

PoolCounts = Callable[[], tuple[int, int, int]]
"""Connections open, connections in use, and callers waiting for one."""


class Keys(Protocol):
    """Who has a key ring, and publishes it."""

    @property
    def ring(self) -> KeyRing:
        """The ring now."""
        ...

    @property
    def published(self) -> PublishedKeys:
        """The JWKS now."""
        ...


class KeyGauges(Collector):
    """The key ring in force here. Empty until there is one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: tuple[Keys, RotationSettings] | None = None

    def watch(self, keys: Keys, settings: RotationSettings) -> None:
        """Reads this ring from now on."""
        self._watched = keys, settings

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        keys = GaugeMetricFamily("usher_keys", "Published signing keys.", labels=["state"])
        age = GaugeMetricFamily(
            "usher_key_age_seconds",
            "Time since the oldest key of a state entered that state.",
            labels=["state"],
        )
        rotation = GaugeMetricFamily(
            "usher_next_rotation_seconds",
            "Time until the next key is due to sign; negative when it is overdue.",
        )
        size = GaugeMetricFamily("usher_jwks_bytes", "Size of the published JWKS.")
        limit = GaugeMetricFamily("usher_jwks_limit_bytes", "Size of the largest JWKS that verifiers read.")
        if self._watched is not None:
            holder, settings = self._watched
            ring, now = holder.ring, self._clock.now()
            for state, count in states(ring.keys).items():
                keys.add_metric([state.value], count)
                entered = [_entered(key) for key in ring.keys if key.state is state]
                if entered:
                    age.add_metric([state.value], now - min(entered))
            if ring.active is not None:
                rotation.add_metric([], step_time(ring.active, ring, settings) - now)
            size.add_metric([], len(holder.published.body))
            limit.add_metric([], MAX_JWKS_BYTES)
        return keys, age, rotation, size, limit


class ListenerGauges(Collector):
    """The process that serves the key set. Empty until there is one."""

    def __init__(self) -> None:
        self._lag: Callable[[], float] | None = None

    def watch(self, lag: Callable[[], float]) -> None:
        """Reads this from now on, in seconds."""
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        lag = GaugeMetricFamily(
            "usher_jwks_lag_seconds",
            "By how much the process that serves the JWKS was late, at worst in the last minute.",
        )
        if self._lag is not None:
            lag.add_metric([], self._lag())
        return (lag,)


class PoolGauges(Collector):
    """The connections of a pool. Empty until there is one."""

    def __init__(self) -> None:
        self._read: PoolCounts | None = None

    def watch(self, read: PoolCounts) -> None:
        """Reads these counts from now on."""
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        connections = GaugeMetricFamily(
            "usher_db_pool_connections", "Open database connections.", labels=["state"]
        )
        waiting = GaugeMetricFamily(
            "usher_db_pool_waiting", "Calls that wait for a free database connection."
        )
        if self._read is not None:
            size, in_use, queued = self._read()
            connections.add_metric(["in_use"], in_use)
            connections.add_metric(["idle"], size - in_use)
            waiting.add_metric([], queued)
        return connections, waiting


class RevocationGauges(Collector):
    """The deny list, as this process has it. Empty until there is one."""

    def __init__(self) -> None:
        self._watched: Revocations | None = None

    def watch(self, revocations: Revocations) -> None:
        """Reads this list from now on."""
        self._watched = revocations

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        entries = GaugeMetricFamily("usher_revocations", "Entries of the deny list in force.", labels=["by"])
        age = GaugeMetricFamily(
            "usher_revocation_list_age_seconds",
            "Time since the deny list was last read; infinite before the first time.",
        )
        told = GaugeMetricFamily(
            "usher_revocation_list_told",
            "Whether changes of the deny list by other sidecars are heard of at once: 1 or 0.",
        )
        if self._watched is not None:
            counts = Counter(entry.by for entry in self._watched.in_force())
            for by in By:
                entries.add_metric([by.value], counts[by])
            age.add_metric([], self._watched.age)
            told.add_metric([], self._watched.told)
        return entries, age, told


def _entered(key: RingKey) -> float:
    """When a key entered its state."""
    moment = {
        KeyState.PREPARED: key.published_at,
        KeyState.ACTIVE: key.activated_at,
        KeyState.RETIRED: key.retired_at,
    }[key.state]
    return key.published_at if moment is None else moment
