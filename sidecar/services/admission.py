"""Which calls are let in: one that would only wait until it is too late is refused at once.

A call that fails at its deadline has cost as much as one that was answered, and held up those behind it: with
more calls than can be served, soon none is. So the wait of a new call is foreseen, by how many are before it
and how fast they end, and a call that would spend half of its time on that is refused before anything is done
for it. docs/adr/0019-overload.md has the figures.
"""

from __future__ import annotations

from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, UsherError
from sidecar.core.events import CallsRefused, Observer

_WEIGHT: Final = 0.05
"""Of the newest in the average pace."""
_SHARE: Final = 0.5
"""Of what is left until a call's deadline, for its wait; the rest is for serving it."""
_FORGET_SECONDS: Final = 1.0
"""A pace that was seen longer ago says nothing: the calls of then may have been slower ones."""
_SAY_EVERY_SECONDS: Final = 1.0


class Admission:
    """Who may come in, and how many are in."""

    def __init__(
        self, clock: Clock, observer: Observer, *, at_once: int, most: int, longest_wait: float
    ) -> None:
        """`at_once` calls are served side by side, those beyond wait for one of them to end.

        `most` may be in at a time. `longest_wait` in seconds.
        """
        self._clock = clock
        self._observer = observer
        self._at_once = at_once
        self._most = most
        self._longest_wait = longest_wait
        self._pace = 0.0
        """Seconds from the end of one call to that of the next while some wait, on average."""
        self._since = 0.0
        """When the last one ended, or the last of `at_once` came in."""
        self._ended = 0
        """How many ends the pace is made of."""
        self.inside = 0
        """How many are in."""
        self._refused = 0
        self._said_at: float | None = None

    def enter(self, remaining: float, *, may_wait: bool = False) -> None:
        """Lets in a call that must be done in `remaining` seconds; it has to leave.

        `may_wait` is for one that is let in however long it will wait. Raises UsherError: TOO_MANY_CALLS, and
        DEADLINE_EXCEEDED for a call that nobody waits for any more.
        """
        if remaining <= 0:
            self._count_refusal()
            raise UsherError(
                Reason.DEADLINE_EXCEEDED,
                "the deadline passed before the call was looked at; nothing was done",
            )
        if self.inside >= self._most:
            raise self._refusal(f"runs {self._most} calls, as many as it admits", {"limit": str(self._most)})
        waiting = self.inside + 1 - self._at_once
        if waiting == 0:
            self._all_busy()
        elif waiting > 0 and not may_wait:
            wait = self._pace * waiting
            if wait > min(self._longest_wait, remaining * _SHARE):
                raise self._refusal(
                    "is too busy to serve this call in time", {"expected_wait": f"{wait:.3f}s"}
                )
        self.inside += 1

    def leave(self) -> None:
        """A call that was let in has ended."""
        if self.inside >= self._at_once:
            now = self._clock.monotonic()
            took, self._since = now - self._since, now
            self._ended += 1
            self._pace += (took - self._pace) * max(_WEIGHT, 1 / self._ended)
        self.inside -= 1

    def _all_busy(self) -> None:
        now = self._clock.monotonic()
        if now - self._since > _FORGET_SECONDS:
            self._pace, self._ended = 0.0, 0
        self._since = now

    def _refusal(self, why: str, metadata: dict[str, str]) -> UsherError:
        self._count_refusal()
        return UsherError(Reason.TOO_MANY_CALLS, f"the server {why}; retry later", metadata)

    def _count_refusal(self) -> None:
        """The log hears of it once a second: a line for each would be more work to do."""
        self._refused += 1
        now = self._clock.monotonic()
        if self._said_at is None or now - self._said_at >= _SAY_EVERY_SECONDS:
            self._observer(CallsRefused(count=self._refused, inside=self.inside))
            self._refused, self._said_at = 0, now
