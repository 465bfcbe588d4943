"""A deny list of this process alone: for backends whose database has nothing of Usher's in it."""

from __future__ import annotations

from typing import Final

from sidecar.core.clock import Clock
from sidecar.core.deny_list import By, Revocation
from sidecar.core.revocations import Addition

_LOOK_SECONDS: Final = 5.0
"""Nobody else changes it; a look only shows that it is there."""


class MemoryRevocations:
    """Keeps entries in memory: no other process sees them, and a restart forgets them."""

    shared = False
    told = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[By, str], Revocation] = {}

    async def read(self) -> list[Revocation]:
        """The list now; what is over is dropped."""
        now = self._clock.now()
        self._entries = {key: entry for key, entry in self._entries.items() if now < entry.expires_at}
        return list(self._entries.values())

    async def add(self, addition: Addition) -> list[Revocation]:
        """Adds an entry, merged with one that is there."""
        await self.read()
        now, key = self._clock.now(), (addition.by, addition.value)
        fresh = Revocation(
            by=addition.by,
            value=addition.value,
            issued_until=addition.issued_until,
            revoked_at=now,
            expires_at=now + addition.seconds,
        )
        there = self._entries.get(key)
        self._entries[key] = fresh if there is None else there.merged(fresh)
        return await self.read()

    async def remove(self, by: By, value: str) -> list[Revocation]:
        """Removes an entry, if it is there."""
        self._entries.pop((by, value), None)
        return await self.read()

    async def changed(self) -> None:
        """Returns when it is time to look again."""
        await self._clock.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Nothing is held open."""
