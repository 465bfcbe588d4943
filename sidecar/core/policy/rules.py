"""The rules of a policy, caller by caller. docs/policy.md describes every field.

Two kinds of fields: those that open something (absent: nothing is open), and those that narrow what is open
(absent: the server's own limit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sidecar.core.callers import CallerIdentity
from sidecar.core.policy.claim_rules import ClaimRule
from sidecar.core.policy.patterns import Pattern

METHODS: Final = (
    "IssueToken",
    "VerifyToken",
    "RunScopedQuery",
    "StreamScopedQuery",
    "RunScopedTransaction",
    "WhoAmI",
)
ADMIN_METHODS: Final = (
    "ListKeys",
    "RotateKeys",
    "RevokeKey",
    "RevokeTokens",
    "ListRevocations",
    "LiftRevocation",
)
"""Methods that need an admin caller as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRules:
    """Which Postgres role statements run as.

    `default` is the role, None for the setting database_role. When the claim `claim` has a text value that
    `by_value` maps, the mapped role takes its place; any other value of it changes nothing.
    """

    default: str | None = None
    claim: str | None = None
    by_value: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Calls a second over time, and how many at once."""

    per_second: float
    burst: int

    @classmethod
    def of(cls, per_second: float, burst: int | None = None) -> Rate:
        """A rate; without a burst, as many at once as in one second."""
        return cls(per_second=per_second, burst=burst or max(1, math.ceil(per_second)))

    def share(self, count: int) -> Rate:
        """What one of `count` processes may let through, so that all of them let through no more."""
        return self if count == 1 else Rate(per_second=self.per_second / count, burst=self.burst // count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one caller may do. Times in seconds; None is the server's own limit."""

    admin: bool = False

    methods: frozenset[str] = frozenset()
    subjects: tuple[Pattern, ...] = ()
    audiences: tuple[Pattern, ...] = ()
    claims: Mapping[str, ClaimRule] = field(default_factory=dict)
    other_claims: bool = False
    free_sql: bool = False
    statements: frozenset[str] = frozenset()
    read_only: bool = True
    roles: RoleRules = RoleRules()

    max_ttl: int | None = None
    max_rows: int | None = None
    statement_timeout: float | None = None
    rate_limit: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every caller's rules, and what proves that a connection is that caller."""

    callers: Mapping[str, Rules]
    identities: tuple[CallerIdentity, ...] = ()
