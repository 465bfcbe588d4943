"""Rate limits: a token bucket for each caller, as a pure step and a keeper of its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.core.policy.rules import Rate

_ROUNDING: Final = 1e-9
"""Who waits as long as told has room, whatever the sum of the fractions."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many calls were left at a moment of a clock that never goes back (seconds)."""

    left: float
    at: float


def full(rate: Rate, now: float) -> Bucket:
    """The bucket of a caller that has not called yet."""
    return Bucket(float(rate.burst), now)


def take(bucket: Bucket, rate: Rate, now: float) -> tuple[Bucket, float]:
    """One call: the bucket after it and 0, or the bucket now and the seconds until there is room."""
    left = min(float(rate.burst), bucket.left + max(0.0, now - bucket.at) * rate.per_second)
    now = max(now, bucket.at)
    if left >= 1.0 - _ROUNDING:
        return Bucket(max(0.0, left - 1.0), now), 0.0
    return Bucket(left, now), (1.0 - left) / rate.per_second


class RateLimiter:
    """The buckets in force. A caller whose rate changes begins with a full one."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[Rate, Bucket]] = {}

    def take(self, caller: str, rate: Rate, now: float) -> float:
        """Counts a call; the seconds to wait when there is no room for it, else 0."""
        known = self._buckets.get(caller)
        bucket = known[1] if known is not None and known[0] == rate else full(rate, now)
        bucket, wait = take(bucket, rate, now)
        self._buckets[caller] = rate, bucket
        return wait

    def keep_only(self, callers: set[str]) -> None:
        """Forgets every other caller."""
        self._buckets = {name: kept for name, kept in self._buckets.items() if name in callers}
