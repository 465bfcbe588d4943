"""The policy file while the sidecar runs: read again when it changes, ignored while it is broken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from sidecar.config import load_policy
from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError
from sidecar.core.events import Observer, PolicyLoaded
from sidecar.core.policy import Authorizer, Policy

LOOK_SECONDS: Final = 1.0
"""Between two looks at the file."""

Signature = tuple[int, int, int, int] | None


class PolicyReloader:
    """Looks at the file each second, and at once when `wake` is set."""

    def __init__(
        self,
        path: Path,
        statements: Collection[str],
        clock: Clock,
        observer: Observer,
        wake: asyncio.Event,
    ) -> None:
        self._path = path
        self._statements = statements
        self._clock = clock
        self._observer = observer
        self._wake = wake
        self._signature: Signature = None

    def first(self) -> Policy:
        """The policy to start with. Raises SettingsError for one that cannot be put in force."""
        # Before reading: what changes meanwhile is read again.
        self._signature = _signature(self._path)
        policy = load_policy(self._path, self._statements)
        self._observer(PolicyLoaded(outcome="loaded", callers=len(policy.callers)))
        return policy

    async def run(self, authorizer: Authorizer, configure: Callable[[Policy], None]) -> None:
        """Keeps the authorizer up to date, until cancelled.

        `configure` puts the callers in force; it raises SettingsError for those that it cannot take.
        """
        while True:
            asked = await self._woken_or_later()
            signature = _signature(self._path)
            if asked or signature != self._signature:
                self._signature = signature
                await self._load(authorizer, configure)

    async def _load(self, authorizer: Authorizer, configure: Callable[[Policy], None]) -> None:
        try:
            policy = await asyncio.to_thread(load_policy, self._path, self._statements)
            # Callers first: a new one whom the old rules do not name is refused for this moment.
            configure(policy)
        except Exception as error:
            # Whatever is wrong with the file, or with its reader: the policy in force is still a good one.
            known = isinstance(error, SettingsError)
            detail = str(error) if known else f"the file could not be read: {type(error).__name__}"
            before = authorizer.policy
            count = len(before.callers) if before is not None else 0
            self._observer(PolicyLoaded(outcome="refused", callers=count, detail=detail))
            return
        authorizer.replace(policy)
        self._observer(PolicyLoaded(outcome="loaded", callers=len(policy.callers)))

    async def _woken_or_later(self) -> bool:
        """Whether it was woken."""
        woken = asyncio.ensure_future(self._wake.wait())
        later = asyncio.ensure_future(self._clock.sleep(LOOK_SECONDS))
        try:
            await asyncio.wait({woken, later}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            later.cancel()
        asked = self._wake.is_set()
        self._wake.clear()
        return asked


def _signature(path: Path) -> Signature:
    """What changes when the file does; None when it is not there. Follows links, as a ConfigMap has them."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
