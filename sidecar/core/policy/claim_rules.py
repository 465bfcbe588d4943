"""What one claim may be: any value, one of some, a fixed one, or one derived from the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.claims import Json
from sidecar.core.policy.patterns import Pattern, any_matches

Scalar = bool | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedClaim:
    """A claim that the caller sends. Of a list, every element must be allowed.

    `any` allows every value; else `texts` are patterns of texts, and `scalars` numbers, true and false.
    """

    required: bool = False
    any: bool = False
    texts: tuple[Pattern, ...] = ()
    scalars: tuple[Scalar, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether the caller may send this value. An object or null is allowed by `any` only."""
        if self.any:
            return True
        if isinstance(value, list):
            return all(self._allows_one(item) for item in value)
        return self._allows_one(value)

    def _allows_one(self, value: Any) -> bool:
        if isinstance(value, str):
            return any_matches(self.texts, value)
        if isinstance(value, bool | int | float):
            return any(same(value, allowed) for allowed in self.scalars)
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedClaim:
    """A claim that the sidecar sets, always to the same value."""

    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedClaim:
    """A claim that the sidecar sets to a proven attribute of the caller (core.callers.ATTRIBUTES)."""

    attribute: str


ClaimRule = ListedClaim | FixedClaim | DerivedClaim


def same(one: Any, other: Any) -> bool:
    """JSON equality: 7 equals 7.0, and true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)
