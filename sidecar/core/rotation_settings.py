"""When keys change. docs/keys.md has the figures and their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sidecar.core.errors import SettingsError
from sidecar.core.keys import RSA_SIZES, Algorithm

VERIFIER_CACHE_SECONDS: Final = 3600
"""How long a verifier may go on with a set that it fetched: what Neon's hosted one is seen to do."""
SAFE_LEAD_SECONDS: Final = VERIFIER_CACHE_SECONDS + 300
"""The rest is for caches in front and clocks."""
SHORTEST_LEAD_SECONDS: Final = 330
"""Neon's published verifier refreshes a set in use after 300 s."""
HOLD_MARGIN_SECONDS: Final = 120
"""Added to the longest token lifetime: leeways of verifiers (60 s at most) and clock skew."""
MAX_KEYS: Final = 64
"""Keys in a set: 64 RSA keys of 4096 bits make 51 KiB, and Neon reads 64 KiB."""
LONGEST_CACHE_SECONDS: Final = 300
"""Most that Cache-Control grants: a key revoked in an emergency should leave caches soon."""
UNSETTLED_CACHE_SECONDS: Final = 10
"""Most that it grants after a key has signed before its lead time: the next emergency may be near."""
LONGEST_REPLICA_TIMEOUT: Final = 900
LAST_CALL_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationSettings:
    """When keys change. Times in seconds."""

    algorithm: Algorithm = Algorithm.ES256
    rsa_bits: int = 2048
    period: int = 86_400
    """How long a key signs."""
    lead_time: int = SAFE_LEAD_SECONDS
    """How long a key is published before it signs."""
    max_token_ttl: int = 3600
    """The longest lifetime of a token."""
    verifiers: tuple[str, ...] = ()
    """Names of verifiers that must have fetched a key before it signs, in lower case."""
    verifier_wait: int = 3600
    """How long one that stays away holds a key back."""
    unsafe_timing: bool = False
    """Accepts times that verifiers' caches cannot follow; for tests."""

    @property
    def hold(self) -> int:
        """How long a key stays published after its last signature."""
        return self.max_token_ttl + HOLD_MARGIN_SECONDS

    @property
    def hard_end(self) -> int:
        """How long a key may sign at most: twice its period, when rotation has failed for a whole one."""
        return 2 * self.period

    @property
    def max_age(self) -> int:
        """How long anyone may cache the set: well below the lead time, so that no cache misses a new key."""
        return min(LONGEST_CACHE_SECONDS, self.lead_time // 4)

    @property
    def replica_timeout(self) -> float:
        """How long a silent replica is waited for; one that is cut off is not ready after half of it."""
        return min(LONGEST_REPLICA_TIMEOUT, max(1.0, self.lead_time / 3))

    @property
    def last_call(self) -> float:
        """How long before the active key's hard end nothing holds the next one back any more."""
        return min(LAST_CALL_SECONDS, self.period / 10)

    def validate(self) -> None:
        """Raises SettingsError for times that break a guarantee, with the reason."""
        if self.algorithm is Algorithm.RS256 and self.rsa_bits not in RSA_SIZES:
            raise SettingsError("rsa_bits must be 2048, 3072 or 4096; verifiers refuse other sizes")
        if self.lead_time < 1 or self.period < self.lead_time:
            raise SettingsError(
                "rotation_period must not be shorter than rotation_lead_time, and that not than 1 s: the "
                "next key is published for the lead time while the current one signs"
            )
        if self.lead_time < SHORTEST_LEAD_SECONDS and not self.unsafe_timing:
            raise SettingsError(
                f"rotation_lead_time must be at least {SHORTEST_LEAD_SECONDS} s: verifiers keep a set for "
                "300 s and more, and would refuse tokens of a key they have not fetched. For tests, set "
                "unsafe_rotation_timing"
            )
        if self.verifiers and self.verifier_wait > self.period:
            raise SettingsError(
                "verifier_wait must not be longer than rotation_period: after two periods the active key "
                "stops signing, whoever is waited for"
            )
        # Prepared and active, one that waits to be dropped, and all that retire within the hold.
        if 3 + self.hold // self.lead_time > MAX_KEYS:
            raise SettingsError(
                "max_token_ttl is too long for this rotation_lead_time: the set could come to hold more "
                f"than {MAX_KEYS} keys, which verifiers do not read"
            )
