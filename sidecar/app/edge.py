"""`usher jwks serve`: the public listener alone, fed from the key store that the sidecars share.

It is one of the store's replicas, but one that never signs: the next key waits until it is served here, too,
and the fetches of verifiers that are seen here count. It cannot open a private key, and has no gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.app import public_http
from sidecar.config import Config
from sidecar.config.key_settings import MEMORY
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Event, JwksServed, KeyStoreStateChanged, Lifecycle, Observer, RotationFailed
from sidecar.core.following import Follower
from sidecar.core.health import Check, Health, Trouble
from sidecar.core.key_store import FetchLog, KeyStore
from sidecar.core.keyring import KeyRing, PublishedKeys, publish
from sidecar.core.publication import Publication
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation_settings import RotationSettings
from sidecar.postgres.key_store import PostgresKeyStore
from sidecar.telemetry.logs import observe as log
from sidecar.telemetry.metrics import Metrics
from sidecar.web.probes import Probes, Render
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


class PublicSide:
    """The public listener and the admin one, fed from a key store, and what observes them. Signs nothing."""

    def __init__(self, config: Config, clock: Clock, store: KeyStore) -> None:
        self.metrics = Metrics(clock, (), answers_calls=False)
        self._config = config
        self._clock = clock
        self._rotation = config.rotation_settings
        self._key_clock = RingClock(clock)
        self._fetches = FetchLog(self._key_clock, self._rotation.verifiers)
        self._health: Health | None = None
        self.follower = Follower(
            store, self._rotation, self._key_clock, self.observe, signs=False, fetches=self._fetches
        )

    def observe(self, event: Event) -> None:
        """An Observer."""
        self.metrics.observe(event)
        log(event)
        if isinstance(event, JwksServed) and event.version:
            self._fetches.note(event.agent, event.version)
        if isinstance(event, KeyStoreStateChanged):
            self.wake()

    def wake(self) -> None:
        """Says that a check may have changed."""
        if self._health is not None:
            self._health.wake()

    async def open(
        self,
        stack: contextlib.AsyncExitStack,
        troubles: Mapping[str, Trouble] | None = None,
        render: Render | None = None,
    ) -> OpenSide:
        """Opens both ports, once `follower` has joined a store whose ring has begun; `stack` closes them.

        `troubles` are checks besides that of the key store, `render` shows other metrics than these alone.
        Raises SettingsError when an address cannot be had.
        """
        config, rotation = self._config, self._rotation
        edge = Edge(self.follower, rotation, self._key_clock, self.observe)
        public = PublicProcess(
            config.http_address,
            lambda: edge.published,
            public_http.command(config.issuer_url, rotation.verifiers, config.log_format, config.log_level),
            self._clock,
            self.observe,
            self.metrics.observe,
        )
        edge.refresh = public.refresh
        health = self._health = Health(
            {"key_store": self.follower.trouble} | dict(troubles or {}), self._clock
        )
        self.metrics.watch_keys(edge, rotation)
        self.metrics.watch_key_store(self.follower, rotation)
        self.metrics.watch_jwks_listener(lambda: public.lag)
        probes = Probes(render or self.metrics.answer, health.checks)
        admin = HttpListener("admin_http_address", config.admin_http_address, probes.answer, self.observe)
        http = await public.start()
        stack.push_async_callback(public.stop, 1.0)
        admin_http = await admin.start()
        stack.push_async_callback(admin.stop, 1.0)
        return OpenSide(
            addresses=EdgeAddresses(http=http, admin_http=admin_http),
            health=health,
            tasks={
                "keys": edge.run,
                "public_http": public.run,
                "health": lambda: health.watch(self._say),
            },
        )

    async def _say(self, checks: tuple[Check, ...]) -> None:
        if all(check.ok for check in checks):
            self.observe(Lifecycle(phase="ready"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSide:
    """A public side whose ports are open."""

    addresses: EdgeAddresses
    health: Health
    tasks: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
    """What keeps it going, each until cancelled."""


async def serve(
    config: Config, clock: Clock, stop: asyncio.Event, started: Callable[[EdgeAddresses], None]
) -> None:
    """Serves the key set until `stop` is set. Its port opens once there is a key.

    Raises SettingsError, and UsherError when the key store cannot be used at the start.
    """
    if config.key_store == MEMORY:
        raise SettingsError("key_store: set it to postgres; the keys of a sidecar in memory are its own")
    side = PublicSide(config, clock, PostgresKeyStore(config.key_store_url, None, clock))
    observe = side.observe
    async with contextlib.AsyncExitStack() as stack:
        # After the public port: whoever is forgotten must not be asked for keys any more.
        stack.push_async_callback(side.follower.leave)
        if not await _first_key(side.follower, stop, observe):
            return
        opened = await side.open(stack)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(), name=name) for name, run in opened.tasks.items()]
            addresses = opened.addresses
            observe(
                Lifecycle(phase="started", detail=f"http={addresses.http} admin_http={addresses.admin_http}")
            )
            started(addresses)
            await stop.wait()
            observe(Lifecycle(phase="draining"))
            opened.health.stop()
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
