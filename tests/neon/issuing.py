"""Who issues tokens in a scenario: a process of Usher's, or a naive signer that does what seems enough.

A scenario knows replicas by `Replica` and starts them by a `Factory`: it runs unchanged on any of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from sidecar.core import jws
from sidecar.core.clock import Clock
from sidecar.core.events import Observer
from sidecar.core.issuer import Issuer, IssuerSettings, TokenRequest
from sidecar.core.keyring import RotationSettings
from sidecar.core.keys import SigningKey, generate
from sidecar.core.rotation import Rotator, first_ring
from sidecar.core.signer import Signer

ISSUER = "https://issuer.example"


class Replica(Protocol):
    """A running process that issues tokens and serves a key set."""

    def issue(self, ttl: int) -> str:
        """A token. Raises UsherError when none can be signed."""
        ...

    def jwks(self) -> bytes:
        """The set that it serves."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it says that it may be asked."""
        ...

    async def stop(self) -> None:
        """Ends it as SIGTERM does."""
        ...

    async def kill(self) -> None:
        """Ends it at once: nothing is finished, nothing said, its memory lost."""
        ...


Factory = Callable[[Clock], Awaitable[Replica]]
"""Starts a replica whose machine has this clock."""


def request(ttl: int) -> TokenRequest:
    """What every replica of Usher is asked for."""
    return TokenRequest(subject="alice", claims={"role": "authenticated"}, ttl=float(ttl))


class MemoryReplica:
    """Usher with keys in memory: signer, rotator and issuer as they are."""

    ready = True

    def __init__(self, signer: Signer, settings: RotationSettings, clock: Clock, observer: Observer) -> None:
        self._signer = signer
        self._issuer = Issuer(signer, IssuerSettings(issuer=ISSUER, max_ttl=settings.max_token_ttl), clock)
        self._rotating = asyncio.create_task(Rotator(signer, settings, clock, observer).run())

    def issue(self, ttl: int) -> str:
        return self._issuer.issue(request(ttl)).compact

    def jwks(self) -> bytes:
        return self._signer.published.body

    async def stop(self) -> None:
        await self.kill()

    async def kill(self) -> None:
        self._rotating.cancel()
        await asyncio.gather(self._rotating, return_exceptions=True)


def memory(settings: RotationSettings, observer: Observer) -> Factory:
    """Each replica has keys of its own."""

    async def start(clock: Clock) -> Replica:
        signer = Signer(await first_ring(settings, clock, observer), settings, ISSUER, clock, observer)
        return MemoryReplica(signer, settings, clock, observer)

    return start


class NaiveReplica:
    """Keys in memory; each period a new one signs at once. It does keep the old ones published for long."""

    ready = True

    def __init__(self, settings: RotationSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._keys: list[tuple[SigningKey, float]] = []
        """With the time from which each signed, oldest first."""

    def issue(self, ttl: int) -> str:
        now = int(self._clock.now())
        claims: dict[str, Any] = {"iss": ISSUER, "sub": "alice", "iat": now, "exp": now + ttl}
        return jws.sign(self._current()[-1][0], claims)

    def jwks(self) -> bytes:
        return json.dumps({"keys": [dict(key.public.jwk) for key, _ in self._current()]}).encode()

    async def stop(self) -> None:
        await self.kill()

    async def kill(self) -> None:
        self._keys.clear()

    def _current(self) -> list[tuple[SigningKey, float]]:
        now = self._clock.now()
        if not self._keys or now >= self._keys[-1][1] + self._settings.period:
            self._keys.append((generate(self._settings.algorithm, self._settings.rsa_bits), now))
            kept = now - self._settings.period - self._settings.hold
            self._keys = [(key, since) for key, since in self._keys if since >= kept]
        return self._keys


def naive(settings: RotationSettings) -> Factory:
    """Each replica has keys of its own."""

    async def start(clock: Clock) -> Replica:
        return NaiveReplica(settings, clock)

    return start


class AtOnce(ThreadPoolExecutor):
    """Does in the loop's own thread what is sent to another, so that a moved clock finds it done."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class Skewed:
    """A machine whose wall clock is `ahead` of the true time, in seconds."""

    def __init__(self, clock: Clock, ahead: float) -> None:
        self.true = clock
        self._ahead = ahead

    def now(self) -> float:
        return self.true.now() + self._ahead

    def monotonic(self) -> float:
        return self.true.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.true.sleep(seconds)
