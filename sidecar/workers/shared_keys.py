"""The key store of workers: the ring lives with the supervisor, each worker reaches it by its link.

To a worker it is a store like that in Postgres: the supervisor decides who was first, and the next key waits
until every worker and the public listener serve it. Private halves pass sealed, by a key that is made at each
start of the supervisor and handed over with the settings.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.errors import Reason, UsherError
from sidecar.core.key_store import Beat, Fetch, KeyStore, Outcome, Replica, Snapshot, Swapped
from sidecar.core.keyring import KeyRing
from sidecar.core.sealing import Sealer
from sidecar.core.stored_keys import ring_of, rows_of
from sidecar.workers.link import Answerer, Link, LinkError

CHANGED: Final = "keys_changed"
"""The news that the ring is another one."""
LEAVE_SECONDS: Final = 1.0
"""For the last word of a worker: the supervisor sees its end in any case."""
_PLACE: Final = "workers"
"""What a private half is sealed for."""


class LinkKeyStore:
    """A KeyStore that asks the supervisor."""

    kind = "memory"
    shared = True
    lasting = True

    def __init__(self, link: Link, sealer: Sealer, clock: Clock) -> None:
        """`link` hands the news CHANGED to `wake`."""
        self._link = link
        self._sealer = sealer
        self._clock = clock
        self._read: tuple[int, KeyRing] = 0, KeyRing(shared=True)
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Says that the ring may have changed."""
        self._news.set()

    async def load(self) -> Snapshot:
        # Before asking: what changes while the answer is on its way is asked for again.
        self._news.clear()
        said = await self._ask("keys_load", self._read[0])
        return Snapshot(
            ring=self._ring(said["ring"]),
            replicas=tuple(Replica(**each) for each in said["replicas"]),
            fetches=tuple(Fetch(**each) for each in said["fetches"]),
            now=said["now"],
        )

    async def swap(self, expected: int, ring: KeyRing) -> Swapped:
        said = await self._ask("keys_swap", {"expected": expected, "ring": packed(ring, self._sealer)})
        return Swapped(outcome=Outcome(said["outcome"]), ring=self._ring(said["ring"]))

    async def record(self, beat: Beat, fetches: Sequence[Fetch] = ()) -> None:
        told = [dataclasses.asdict(fetch) for fetch in fetches]
        await self._ask("keys_record", {"beat": dataclasses.asdict(beat), "fetches": told})

    async def leave(self, replica: str) -> None:
        await self._ask("keys_leave", replica, seconds=LEAVE_SECONDS)

    async def changed(self, timeout: float) -> None:
        await woken_or_later(self._clock, self._news, timeout)

    async def close(self) -> None:
        """The link is not ours to close."""

    def _ring(self, said: dict[str, Any] | None) -> KeyRing:
        if said is not None:
            ring = ring_of(said["rows"], said["version"], _PLACE, self._sealer)
            self._read = ring.version, ring
        return self._read[1]

    async def _ask(self, what: str, value: Any, **more: float) -> Any:
        try:
            return await self._link.ask(what, value, **more)
        except LinkError as error:
            raise UsherError(
                Reason.KEY_STORE_UNAVAILABLE, f"the supervisor of the workers does not answer: {error}"
            ) from None


def packed(ring: KeyRing, sealer: Sealer) -> dict[str, Any]:
    """A ring as JSON holds it."""
    return {"version": ring.version, "rows": rows_of(ring, _PLACE, sealer)}


def key_answers(
    store: KeyStore, sealer: Sealer, replicas: set[str], changed: Callable[[], Awaitable[None]]
) -> Mapping[str, Answerer]:
    """What a worker may ask of the supervisor's `store`.

    `replicas` is kept to the names under which this worker is known there. `changed` is awaited when the ring
    is another one, before the worker that changed it may sign by it.
    """

    async def load(known: int) -> Any:
        snapshot = await store.load()
        return {
            "ring": None if snapshot.ring.version == known else packed(snapshot.ring, sealer),
            "replicas": [dataclasses.asdict(each) for each in snapshot.replicas],
            "fetches": [dataclasses.asdict(each) for each in snapshot.fetches],
            "now": snapshot.now,
        }

    async def swap(asked: Any) -> Any:
        said = asked["ring"]
        ring = ring_of(said["rows"], said["version"], _PLACE, sealer)
        swapped = await store.swap(asked["expected"], ring)
        if swapped.outcome is Outcome.STORED:
            await changed()
        return {"outcome": swapped.outcome.value, "ring": packed(swapped.ring, sealer)}

    async def record(asked: Any) -> None:
        replicas.add(asked["beat"]["replica"])
        await store.record(Beat(**asked["beat"]), [Fetch(**fetch) for fetch in asked["fetches"]])

    async def leave(replica: str) -> None:
        replicas.discard(replica)
        await store.leave(replica)

    return {"keys_load": load, "keys_swap": swap, "keys_record": record, "keys_leave": leave}
