"""How much is measured: the full bench, what the promised figures need, the quick one, and the smallest that
still goes everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.calls import WORKS
from bench.ratios import BUSY

SECTIONS: Final = ("ceilings", "table", "guards", "forms", "distance", "saturation", "stream")
LONG: Final = ("query10000",)
"""So many of these at once would only wait: seconds for the connections that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Times in seconds."""

    name: str
    rounds: int
    seconds: float
    """Of one measurement."""
    warm: float
    """Before it, under the same load."""
    first_round: int = -1
    """Rounds below 0 only warm up: compilers and caches settle over thousands of operations."""
    works: Sequence[str] = WORKS
    outstanding: Sequence[int] = (1, 32, 256)
    everywhere: Sequence[str] = WORKS
    """Works that are measured at each of `outstanding`; others at 32 alone."""
    distances: Sequence[int] = (1, 5, 20)
    """Milliseconds each way."""
    far: Sequence[str] = ("query1", "query10", "query100", "token_query", "write", "transaction2")
    """Works that are measured at these distances."""
    stream_seconds: float = 60.0
    guards: Sequence[str] = ("caller", "policy", "claims", "audit", "metrics", "scrub")

    def at(self, work: str) -> Sequence[int]:
        """How many operations are outstanding when a work is measured."""
        chosen = self.outstanding if work in self.everywhere else (BUSY,)
        return [count for count in chosen if count <= BUSY or work not in LONG]


FULL: Final = Plan(name="full", rounds=5, seconds=2.0, warm=0.5)
QUICK: Final = Plan(
    name="quick",
    rounds=1,
    seconds=0.8,
    warm=0.3,
    works=("issue_es256", "query1", "query10", "query100", "write", "jwks"),
    outstanding=(1, 32),
    everywhere=("query10",),
    distances=(1, 5),
    far=("query10",),
    stream_seconds=15.0,
)
PROMISES: Final = Plan(
    name="promises",
    rounds=5,
    seconds=1.5,
    warm=0.4,
    works=("issue_es256", "query10", "query100", "query10000", "transaction2"),
    outstanding=(BUSY,),
    distances=(1, 5),
    far=("query10",),
)
SMOKE: Final = Plan(
    name="smoke",
    rounds=1,
    first_round=0,
    seconds=0.3,
    warm=0.05,
    works=("issue_es256", "issue_rs256", "query10", "write", "verify", "token_query", "transaction2", "jwks"),
    outstanding=(1, 32),
    everywhere=("jwks",),
    distances=(1, 5),
    far=("query10", "transaction2"),
    stream_seconds=1.0,
    guards=("claims",),
)
PLANS: Final = {plan.name: plan for plan in (FULL, PROMISES, QUICK, SMOKE)}
