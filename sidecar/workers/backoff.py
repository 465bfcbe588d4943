"""How long a worker waits to be replaced: not at all the first time, longer each time that it ends soon."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""Who ran for so long was well: its end is a first one again."""


class Backoff:
    """The waits of one worker."""

    def __init__(self) -> None:
        self._next = 0.0

    def after(self, ran: float) -> float:
        """Seconds to wait after one that ran for `ran` seconds; 0 for one that did not start."""
        wait = 0.0 if ran >= STEADY_SECONDS else self._next
        self._next = min(max(FIRST_SECONDS, 2 * wait), LONGEST_SECONDS)
        return wait
