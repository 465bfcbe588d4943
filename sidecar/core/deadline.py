"""When the call that is being served must be done, for whoever lets it wait."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from sidecar.core.clock import Clock

_DEADLINE: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)


def set_deadline(moment: float) -> None:
    """The present task, and those it starts, must be done by then: a moment of the clock's monotonic()."""
    _DEADLINE.set(moment)


def remaining(clock: Clock) -> float | None:
    """Seconds until the present task must be done, negative when it is too late; None when nobody said."""
    moment = _DEADLINE.get()
    return None if moment is None else moment - clock.monotonic()
