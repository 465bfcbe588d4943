"""The time by which keys change: one for all replicas of a key store, however their own clocks differ."""

from __future__ import annotations

from typing import Final

from sidecar.core.clock import Clock

MAX_SKEW_SECONDS: Final = 60.0
"""How far this machine's clock and the store's may differ. Beyond it one of them is wrong, and nobody here
can know which: nothing is signed and no key is moved."""


class RingClock:
    """A Clock that follows a key store's, as last heard, carried on by the monotonic clock.

    Before the first word of a store, and with a store in memory for ever, it is the clock it is made of.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: tuple[float, float] | None = None

    def hear(self, store_now: float, answered: float) -> None:
        """The store's time, in an answer that was here at `answered`, by the monotonic clock.

        It was read before that, so `now` lags by the way of the answer at most and never runs ahead.
        """
        self._heard = store_now, answered

    def now(self) -> float:
        """The store's time, or a little earlier. Seconds since 1970."""
        if self._heard is None:
            return self._clock.now()
        store_now, answered = self._heard
        return store_now + (self._clock.monotonic() - answered)

    def wall(self) -> float:
        """This machine's own time."""
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the store's.

        A machine that slept shows it too: its monotonic clock stood still meanwhile.
        """
        return 0.0 if self._heard is None else self.wall() - self.now()

    def trouble(self) -> str | None:
        """Why the time cannot be trusted, in public words; None when it can."""
        if abs(self.skew) <= MAX_SKEW_SECONDS:
            return None
        return (
            f"this machine's clock and the key store's differ by more than {MAX_SKEW_SECONDS:g} s; correct "
            "the one that is wrong"
        )
