"""What a check of a deployment found: one line for the terminal, public text throughout."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

CLOCK_WARNING_SECONDS: Final = 5.0
CLOCK_FAILED_SECONDS: Final = 30.0
"""The leeway that Neon's verifier grants `exp` and `nbf`; pg_session_jwt grants 60 s."""


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something is weaker than it could be, or could not be looked at."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One finding. `check` is stable; `seen` and `remedy` never hold a password, token, key or claim."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def ok(check: str, seen: str) -> Diagnosis:
    """All is as it should be."""
    return Diagnosis(check=check, verdict=Verdict.OK, seen=seen)


def warning(check: str, seen: str, remedy: str = "") -> Diagnosis:
    """Something to know."""
    return Diagnosis(check=check, verdict=Verdict.WARNING, seen=seen, remedy=remedy)


def failed(check: str, seen: str, remedy: str = "") -> Diagnosis:
    """Something to mend."""
    return Diagnosis(check=check, verdict=Verdict.FAILED, seen=seen, remedy=remedy)


def trouble(check: str, text: str) -> Diagnosis:
    """A failure told as Usher's messages tell it: what is wrong, a semicolon, and the remedy."""
    seen, _, remedy = text.partition("; ")
    return failed(check, seen, remedy)


def not_looked_at(check: str, why: str, remedy: str = "") -> Diagnosis:
    """What could not be looked at is never counted as good."""
    return warning(check, f"not looked at: {why}", remedy)


def clock(check: str, ahead: float, whose: str) -> Diagnosis:
    """Two clocks compared. `ahead`: by how many seconds this machine's is ahead of `whose`."""
    seen = f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} {whose}"
    remedy = "let both machines follow NTP"
    if abs(ahead) > CLOCK_FAILED_SECONDS:
        return failed(check, f"{seen}; Neon grants {CLOCK_FAILED_SECONDS:g} s", remedy)
    if abs(ahead) > CLOCK_WARNING_SECONDS:
        return warning(check, seen, remedy)
    return ok(check, seen)
