"""`usher jwks serve`: the public listener alone, fed from the key store that the sidecars share.

It is one of the store's replicas, but one that never signs: the next key waits until it is served here, too,
and the fetches of verifiers that are seen here count. It cannot open a private key, and has no gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.app import public_http
from sidecar.config import Config
from sidecar.config.key_settings import MEMORY
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Event, JwksServed, KeyStoreStateChanged, Lifecycle, Observer, RotationFailed
from sidecar.core.following import Follower
from sidecar.core.health import Check, Health
from sidecar.core.key_store import FetchLog
from sidecar.core.keyring import KeyRing, PublishedKeys, publish
from sidecar.core.publication import Publication
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation_settings import RotationSettings
from sidecar.postgres.key_store import PostgresKeyStore
from sidecar.telemetry.logs import observe as log
from sidecar.telemetry.metrics import Metrics
from sidecar.web.probes import Probes
from sidecar.web.public_process import PublicProcess
from sidecar.web.server import HttpListener

RETRY_SECONDS: Final = 1.0
"""After a look at the store that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeAddresses:
    """Where a started edge listens."""

    http: str
    admin_http: str


class Edge:
    """The set that is served here, from its first key on."""

    def __init__(
        self, follower: Follower, settings: RotationSettings, clock: RingClock, observer: Observer
    ) -> None:
        """`follower` has joined a store whose ring has begun."""
        self._follower = follower
        self._settings = settings
        self._publication = Publication(publish(follower.ring, settings), clock, observer)
        self._observer = observer
        self.refresh: Callable[[], None] = lambda: None
        """Called with each new set, before the store is told that it is served."""
        follower.adopt_with(self._adopt)

    @property
    def ring(self) -> KeyRing:
        """The ring in force here."""
        return self._follower.ring

    @property
    def published(self) -> PublishedKeys:
        """The JWKS now."""
        return self._publication.now

    async def run(self) -> None:
        """Follows the store until cancelled, and serves what it has while the store is away."""
        while True:
            wait = self._follower.beat_seconds
            try:
                await self._follower.sync()
            except Exception as error:
                # The follower has said that the store is away.
                if not _is_away(error):
                    self._observer(RotationFailed(error=error))
                wait = min(wait, RETRY_SECONDS)
            await self._follower.store.changed(wait)

    def _adopt(self, ring: KeyRing) -> bool:
        if not self._publication.offer(publish(ring, self._settings)):
            return False
        self.refresh()
        return True


async def serve(
    config: Config, clock: Clock, stop: asyncio.Event, started: Callable[[EdgeAddresses], None]
) -> None:
    """Serves the key set until `stop` is set. Its port opens once there is a key.

    Raises SettingsError, and UsherError when the key store cannot be used at the start.
    """
    if config.key_store == MEMORY:
        raise SettingsError("key_store: set it to postgres; the keys of a sidecar in memory are its own")
    metrics = Metrics(clock, ())
    rotation = config.rotation_settings
    key_clock = RingClock(clock)
    fetches = FetchLog(key_clock, rotation.verifiers)
    wake: list[Callable[[], None]] = []

    def observe(event: Event) -> None:
        metrics.observe(event)
        log(event)
        if isinstance(event, JwksServed) and event.version:
            fetches.note(event.agent, event.version)
        if isinstance(event, KeyStoreStateChanged):
            for listener in wake:
                listener()

    store = PostgresKeyStore(config.key_store_url, None, clock)
    follower = Follower(store, rotation, key_clock, observe, signs=False, fetches=fetches)
    async with contextlib.AsyncExitStack() as stack:
        # After the public port: whoever is forgotten must not be asked for keys any more.
        stack.push_async_callback(follower.leave)
        if not await _first_key(follower, stop, observe):
            return
        edge = Edge(follower, rotation, key_clock, observe)
        public = PublicProcess(
            config.http_address,
            lambda: edge.published,
            public_http.command(config.issuer_url, rotation.verifiers, config.log_format, config.log_level),
            clock,
            observe,
            metrics.observe,
        )
        edge.refresh = public.refresh
        health = Health({"key_store": follower.trouble}, clock)
        wake.append(health.wake)
        metrics.watch_keys(edge, rotation)
        metrics.watch_key_store(follower, rotation)
        metrics.watch_jwks_listener(lambda: public.lag)
        probes = Probes(metrics.render, health.checks)
        admin = HttpListener("admin_http_address", config.admin_http_address, probes.answer, observe)
        http = await public.start()
        stack.push_async_callback(public.stop, 1.0)
        admin_http = await admin.start()
        stack.push_async_callback(admin.stop, 1.0)
        addresses = EdgeAddresses(http=http, admin_http=admin_http)

        async def say(checks: tuple[Check, ...]) -> None:
            if all(check.ok for check in checks):
                observe(Lifecycle(phase="ready"))

        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(edge.run(), name="keys"),
                tasks.create_task(public.run(), name="public_http"),
                tasks.create_task(health.watch(say), name="health"),
            ]
            observe(Lifecycle(phase="started", detail=f"http={http} admin_http={admin_http}"))
            started(addresses)
            await stop.wait()
            observe(Lifecycle(phase="draining"))
            health.stop()
            for task in running:
                task.cancel()
    observe(Lifecycle(phase="stopped"))


async def _first_key(follower: Follower, stop: asyncio.Event, observe: Observer) -> bool:
    """Waits for a sidecar to begin the ring; False when `stop` came first. Raises as KeyStore."""
    await follower.join()
    if not follower.ring.keys:
        observe(
            Lifecycle(phase="waiting", detail="the key store holds no key yet; a sidecar makes the first")
        )
    while not follower.ring.keys and not stop.is_set():
        news = asyncio.ensure_future(follower.store.changed(follower.beat_seconds))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([news, stopped], return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        stopped.cancel()
        with contextlib.suppress(UsherError):  # the follower has said so
            await follower.sync()
    return bool(follower.ring.keys) and not stop.is_set()


def _is_away(error: Exception) -> bool:
    return isinstance(error, UsherError) and error.reason is Reason.KEY_STORE_UNAVAILABLE
