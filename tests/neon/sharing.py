"""Replicas of Usher that share a key store in a real Postgres, and die where a scenario wants them to.

The database reads the scenario's clock: it is told the time in the place of its own. All else is as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from sidecar.core.clock import Clock
from sidecar.core.events import Observer
from sidecar.core.following import Follower
from sidecar.core.issuer import Issuer, IssuerSettings
from sidecar.core.key_store import Beat, Fetch, KeyStore, Snapshot, Swapped
from sidecar.core.keyring import KeyRing
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import Rotator, join
from sidecar.core.rotation_settings import RotationSettings
from sidecar.core.sealing import Sealer
from sidecar.core.signer import Signer
from sidecar.postgres.key_store import PostgresKeyStore
from tests.neon.exact_clock import ExactClock
from tests.neon.issuing import ISSUER, Factory, Replica, Skewed, request

_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
_POINTS: Final = (
    "begin",
    "FOR UPDATE",
    "DELETE FROM usher_keys.key",
    "INSERT INTO usher_keys.key",
    "UPDATE usher_keys.ring",
    "pg_notify",
    "commit",
)
AWAITS: Final = ("before begin", *(f"after {point}" for point in _POINTS))
"""Every moment of a change of the ring at which its replica waits for the database, in their order: between
two of them nothing is sent."""


class Trap:
    """Kills the replica that is the next to come to one of AWAITS."""

    def __init__(self) -> None:
        self._set: tuple[str, int] | None = None
        self.kill: Callable[[Replica], None] = lambda replica: None
        """What a scenario does to it."""
        self.sprung: list[str] = []

    def set(self, point: str, change: int) -> None:
        """`change` counts the changes of the ring from now on, from 0."""
        self._set = point, change

    def takes(self, point: str) -> bool:
        """Whether somebody dies here."""
        if self._set is None or self._set[0] != point:
            return False
        if self._set[1]:
            self._set = point, self._set[1] - 1
            return False
        self._set = None
        self.sprung.append(point)
        return True


class _Line:
    """A connection that tells the database the scenario's time, and on which a replica may die."""

    def __init__(self, connection: Any, clock: ExactClock, reach: Callable[[str], Any]) -> None:
        self._connection = connection
        self._clock = clock
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        return await self._run(self._connection.fetchrow, sql, values)

    async def execute(self, sql: str, *values: Any) -> Any:
        return await self._run(self._connection.execute, sql, values)

    @contextlib.asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        await self._reach("before begin")
        transaction = self._connection.transaction(**options)
        await transaction.start()
        await self._reach("after begin")
        try:
            yield
        except BaseException:
            if not self._connection.is_closed():
                await transaction.rollback()
            raise
        await transaction.commit()
        await self._reach("after commit")

    async def _run(self, run: Any, sql: str, values: Sequence[Any]) -> Any:
        point = next((point for point in _POINTS if point in sql), None)
        sql = sql.replace(_NOW, f"{self._clock.now()!r}::float8")
        assert "clock_timestamp" not in sql, "it reads a clock that nobody has set"
        done = await run(sql, *values)
        if point is not None:
            await self._reach(f"after {point}")
        return done


class _Store(PostgresKeyStore):
    """A store whose connection is such a line."""

    def __init__(self, url: str, kek: str, machine: Clock, clock: ExactClock, reach: Any) -> None:
        super().__init__(url, Sealer.parse(kek), machine)
        self._true = clock
        self._reach = reach
        self.cut = False
        """Whether this replica alone cannot reach it."""
        self.made: list[Any] = []

    async def _connect(self) -> Any:
        if self.cut:
            raise ConnectionRefusedError
        connection = await super()._connect()
        self.made.append(connection)
        return _Line(connection, self._true, self._reach)

    def drop(self) -> None:
        """Ends the connection without a word."""
        for connection in self.made:
            connection.terminate()


class _Waited:
    """A key store for whose answers time stands still."""

    kind = "postgres"
    shared = True
    lasting = True

    def __init__(self, store: KeyStore, working: Callable[[], Any]) -> None:
        self._store = store
        self._working = working

    async def load(self) -> Snapshot:
        with self._working():
            return await self._store.load()

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        with self._working():
            return await self._store.swap(expected, ring)

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        with self._working():
            await self._store.record(beat, fetches)

    async def leave(self, replica: str) -> None:
        with self._working():
            await self._store.leave(replica)

    async def changed(self, timeout: float) -> None:
        await self._store.changed(timeout)

    async def close(self) -> None:
        with self._working():
            await self._store.close()


class SharingReplica:
    """Usher with key_store=postgres: store, follower, signer, rotator and issuer as they are."""

    def __init__(
        self, url: str, kek: str, settings: RotationSettings, clock: Clock, observer: Observer, trap: Trap
    ) -> None:
        assert isinstance(clock, Skewed)
        assert isinstance(clock.true, ExactClock)
        self._true = clock.true
        self._trap = trap
        self._settings = settings
        self._observer = observer
        self._dying = asyncio.Event()
        self.store = _Store(url, kek, clock, clock.true, self._reach)
        self.clock = RingClock(clock)
        self._follower = Follower(_Waited(self.store, clock.true.working), settings, self.clock, observer)

    async def start(self) -> SharingReplica:
        """As a process does before it opens its ports."""
        settings, clock, observer = self._settings, self.clock, self._observer
        ring = await join(self._follower, settings, observer)
        self._signer = Signer(ring, settings, ISSUER, clock, observer, time_trouble=clock.trouble)
        self._issuer = Issuer(
            self._signer, IssuerSettings(issuer=ISSUER, max_ttl=settings.max_token_ttl), clock
        )
        rotator = Rotator(self._signer, settings, clock, observer, self._follower)
        self._rotating = asyncio.create_task(rotator.run())
        return self

    @property
    def ready(self) -> bool:
        return self._follower.trouble() is None and self._signer.trouble() is None

    def issue(self, ttl: int) -> str:
        return self._issuer.issue(request(ttl)).compact

    def jwks(self) -> bytes:
        return self._signer.published.body

    async def stop(self) -> None:
        await self._end()
        await self._follower.leave()

    async def kill(self) -> None:
        self.store.drop()
        await self._end()

    async def _end(self) -> None:
        self._rotating.cancel()
        await asyncio.gather(self._rotating, return_exceptions=True)

    async def _reach(self, point: str) -> None:
        if self._trap.takes(point):
            self._trap.kill(self)
            await asyncio.Event().wait()


def sharing(
    url: str, kek: str, settings: RotationSettings, observer: Observer, trap: Trap | None = None
) -> Factory:
    """All replicas have the keys of one store."""

    async def start(clock: Clock) -> Replica:
        return await SharingReplica(url, kek, settings, clock, observer, trap or Trap()).start()

    return start
