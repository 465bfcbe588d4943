"""The deny list of workers, where the database has none: it lives with the supervisor, for all of them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.deny_list import By, Revocation
from sidecar.core.errors import Reason, UsherError
from sidecar.core.revocations import Addition, RevocationStore
from sidecar.workers.link import Answerer, Link, LinkError

CHANGED: Final = "revocations_changed"
"""The news that the list is another one."""
LOOK_SECONDS: Final = 5.0
"""Between two looks when there is no news: they show that the supervisor is there."""


class LinkRevocations:
    """A RevocationStore that asks the supervisor."""

    shared = True
    told = True

    def __init__(self, link: Link, clock: Clock) -> None:
        """`link` hands the news CHANGED to `wake`."""
        self._link = link
        self._clock = clock
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Says that the list may have changed."""
        self._news.set()

    async def read(self) -> list[Revocation]:
        return await self._ask("revocations_read", None)

    async def add(self, addition: Addition) -> list[Revocation]:
        return await self._ask("revocations_add", dataclasses.asdict(addition))

    async def remove(self, by: By, value: str) -> list[Revocation]:
        return await self._ask("revocations_remove", [by.value, value])

    async def changed(self) -> None:
        await woken_or_later(self._clock, self._news, LOOK_SECONDS)

    async def close(self) -> None:
        """The link is not ours to close."""

    async def _ask(self, what: str, value: Any) -> list[Revocation]:
        # Before asking: what changes while the answer is on its way is asked for again.
        self._news.clear()
        try:
            said = await self._link.ask(what, value)
        except LinkError as error:
            raise UsherError(
                Reason.DATABASE_UNAVAILABLE, f"the supervisor of the workers does not answer: {error}"
            ) from None
        return [Revocation(**(each | {"by": By(each["by"])})) for each in said]


def revocation_answers(store: RevocationStore, changed: Callable[[], None]) -> Mapping[str, Answerer]:
    """What a worker may ask of the supervisor's `store`. `changed` is called once the list is another one."""

    async def read(_: Any) -> Any:
        return _said(await store.read())

    async def add(asked: Any) -> Any:
        entries = await store.add(Addition(**(asked | {"by": By(asked["by"])})))
        changed()
        return _said(entries)

    async def remove(asked: Any) -> Any:
        by, value = asked
        entries = await store.remove(By(by), value)
        changed()
        return _said(entries)

    return {"revocations_read": read, "revocations_add": add, "revocations_remove": remove}


def _said(entries: Sequence[Revocation]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(entry) for entry in entries]
