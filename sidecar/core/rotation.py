"""Rotation: makes keys, does what the ring says is due, and is the only writer of the signer's ring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from sidecar.core import keyring
from sidecar.core.clock import Clock
from sidecar.core.events import KeyStepped, Observer, RotationFailed
from sidecar.core.keyring import KeyRing, RingKey, RotationSettings, Stepped
from sidecar.core.keys import SigningKey, generate
from sidecar.core.signer import Signer

LONGEST_SLEEP_SECONDS: Final = 5.0
"""Between two looks at the ring. Short, because the clock may be set while we sleep."""


async def make_key(settings: RotationSettings) -> SigningKey:
    """A new key, made in a thread: an RSA key takes up to half a second of CPU."""
    return await asyncio.to_thread(generate, settings.algorithm, settings.rsa_bits)


async def first_ring(settings: RotationSettings, clock: Clock, observer: Observer) -> KeyRing:
    """The ring of a process that starts: one key that signs at once, and the next one prepared."""
    first, second = await make_key(settings), await make_key(settings)
    ring, steps = keyring.begin(first, second, clock.now())
    _report(steps, observer, forced=False)
    return ring


class Rotator:
    """Keeps the ring of a signer current."""

    def __init__(self, signer: Signer, settings: RotationSettings, clock: Clock, observer: Observer) -> None:
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Does what is due, when it is due, until cancelled. A step that fails is tried again."""
        while True:
            try:
                await self.do_what_is_due()
            except Exception as error:
                self._observer(RotationFailed(error=error))
            _, due = keyring.next_step(self._signer.ring, self._settings)
            # Never 0: a step that fails for long must not spin.
            await self._clock.sleep(min(LONGEST_SLEEP_SECONDS, max(0.05, due - self._clock.now())))

    async def do_what_is_due(self) -> None:
        """One look at the ring. Raises what making a key raises, or UsherError KEY_SET_FULL."""
        async with self._turn:
            self._put_in_force(
                keyring.advance(self._signer.ring, self._clock.now(), self._signer.last_use, self._settings)
            )
            await self._prepare_next()

    async def rotate(self, *, force: bool) -> tuple[RingKey, RingKey]:
        """Lets the prepared key sign now; returns it and the retired one. Raises as keyring.rotate."""
        async with self._turn:
            before = self._active()
            self._put_in_force(
                keyring.rotate(
                    self._signer.ring, self._clock.now(), self._signer.last_use, self._settings, force=force
                ),
                forced=force,
            )
            active = self._active()
            retired = self._signer.ring.find(before.key.kid) or before
            await self._prepare_next_or_report()
            return active, retired

    async def revoke(self, kid: str) -> RingKey:
        """Takes a key out of the set at once; returns the key that signs now. Raises as keyring.revoke."""
        async with self._turn:
            self._put_in_force(
                keyring.revoke(self._signer.ring, kid, self._clock.now(), self._signer.last_use), forced=True
            )
            active = self._active()
            await self._prepare_next_or_report()
            return active

    async def _prepare_next(self) -> None:
        if self._signer.ring.prepared is None:
            fresh = await make_key(self._settings)
            self._put_in_force(keyring.prepare(self._signer.ring, fresh, self._clock.now()))

    async def _prepare_next_or_report(self) -> None:
        """After a change that is done already: what fails here is tried again by the loop."""
        try:
            await self._prepare_next()
        except Exception as error:
            self._observer(RotationFailed(error=error))

    def _put_in_force(self, change: keyring.Change, *, forced: bool = False) -> None:
        ring, steps = change
        if ring is not self._signer.ring:
            self._signer.replace_ring(ring)
        _report(steps, self._observer, forced=forced)

    def _active(self) -> RingKey:
        active = self._signer.ring.active
        assert active is not None  # replace_ring admits no other ring
        return active


def _report(steps: Iterable[Stepped], observer: Observer, *, forced: bool) -> None:
    for stepped in steps:
        observer(
            KeyStepped(
                step=stepped.step.value,
                kid=stepped.key.kid,
                alg=stepped.key.algorithm.value,
                forced=forced,
            )
        )
