"""Several replicas over one key store, each with a clock and a line to the store that tests can disturb."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sidecar.core.claims import Claims
from sidecar.core.errors import Reason, UsherError
from sidecar.core.following import Follower
from sidecar.core.key_store import Beat, Fetch, FetchLog, KeyStore, Snapshot, Swapped
from sidecar.core.keyring import KeyRing
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import Rotator, join
from sidecar.core.rotation_settings import RotationSettings
from sidecar.core.signer import Issued, Signer
from tests.fakes import START, Recorder

ISSUER = "https://issuer.example"


class Nature:
    """The true time. Who sleeps moves it."""

    def __init__(self, now: float = START) -> None:
        self.seconds = now

    def clock(self, offset: float = 0.0) -> Watch:
        """A clock that is so far ahead of the truth."""
        return Watch(self, offset)


class Watch:
    """A Clock that shows nature's time, and is wrong by an offset."""

    def __init__(self, nature: Nature, offset: float) -> None:
        self._nature = nature
        self.offset = offset

    def now(self) -> float:
        return self._nature.seconds + self.offset

    def monotonic(self) -> float:
        return self._nature.seconds

    async def sleep(self, seconds: float) -> None:
        self._nature.seconds += max(0.0, seconds)


class CrashError(BaseException):
    """The process ends here."""


class Line:
    """One replica's way to a store that others use, too."""

    kind = "line"

    def __init__(self, store: KeyStore, nature: Nature) -> None:
        self._store = store
        self._nature = nature
        self.cut = False
        self.lag = 0.0
        """How long an answer is on its way."""
        self.crash_at: int | None = None
        """After so many more calls the process ends; an even number: before the call has an effect."""

    @property
    def shared(self) -> bool:
        return self._store.shared

    @property
    def lasting(self) -> bool:
        return self._store.lasting

    async def load(self) -> Snapshot:
        return await self._call(self._store.load())

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        return await self._call(self._store.swap(expected, ring))

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        await self._call(self._store.record(beat, fetches))

    async def leave(self, replica: str) -> None:
        await self._call(self._store.leave(replica))

    async def changed(self, timeout: float) -> None:
        await self._store.changed(timeout)

    async def close(self) -> None:
        await self._store.close()

    async def _call(self, call: Any) -> Any:
        count = self.crash_at
        if self.cut or count == 0:
            call.close()
            if count == 0:
                raise CrashError
            raise UsherError(Reason.KEY_STORE_UNAVAILABLE, "the line is cut")
        answer = await call
        self._nature.seconds += self.lag
        if count is not None:
            if count == 1:
                raise CrashError
            self.crash_at = count - 2
        return answer


class Member:
    """A running replica."""

    numbers = itertools.count(1)

    def __init__(
        self, store: KeyStore, settings: RotationSettings, nature: Nature, offset: float = 0.0
    ) -> None:
        self.number = next(self.numbers)
        self.settings = settings
        self.watch = nature.clock(offset)
        self.line = Line(store, nature)
        self.seen = Recorder()
        self.clock = RingClock(self.watch)
        self.fetches = FetchLog(self.clock, settings.verifiers)
        self.follower = Follower(self.line, settings, self.clock, self.seen, fetches=self.fetches)

    async def start(self) -> Member:
        """Joins, as a process does before it opens its ports."""
        ring = await join(self.follower, self.settings, self.seen)
        self.signer = Signer(
            ring, self.settings, ISSUER, self.clock, self.seen, time_trouble=self.clock.trouble
        )
        self.rotator = Rotator(self.signer, self.settings, self.clock, self.seen, self.follower)
        return self

    async def beat(self) -> bool:
        """One round of the rotator's loop; False when the store was away."""
        try:
            await self.rotator.do_what_is_due()
        except UsherError as error:
            if error.reason is not Reason.KEY_STORE_UNAVAILABLE:
                raise
            return False
        return True

    def sign(self, ttl: int) -> Issued:
        """A token, as the issuer makes its claims."""
        now = int(self.clock.now())
        return self.signer.sign(
            Claims(
                issuer=ISSUER,
                subject="alice",
                audiences=(),
                issued_at=now,
                expires_at=now + ttl,
                jti="id",
                custom={},
            )
        )

    @property
    def kids(self) -> list[str]:
        """What it publishes."""
        return [key.key.kid for key in self.signer.ring.keys]

    @property
    def active(self) -> str:
        """The key that it signs with."""
        assert self.signer.ring.active is not None
        return self.signer.ring.active.key.kid
