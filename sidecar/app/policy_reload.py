"""The policy file while the sidecar runs: read again when it changes, ignored while it is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from sidecar.app.file_signature import Signature, signature_of
from sidecar.config import load_policy
from sidecar.core.clock import Clock, woken_or_later
from sidecar.core.errors import SettingsError
from sidecar.core.events import Observer, PolicyLoaded
from sidecar.core.policy import Authorizer, Policy

LOOK_SECONDS: Final = 1.0
"""Between two looks at the file."""


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
        self._signature = signature_of(self._path)
        policy = load_policy(self._path, self._statements)
        self._observer(PolicyLoaded(outcome="loaded", callers=len(policy.callers)))
        return policy

    async def run(self, authorizer: Authorizer, configure: Callable[[Policy], None]) -> None:
        """Keeps the authorizer up to date, until cancelled.

        `configure` puts the callers in force; it raises SettingsError for those that it cannot take.
        """
        while True:
            asked = await self._woken_or_later()
            signature = signature_of(self._path)
            if asked or signature != self._signature:
                self._signature = signature
                await self._load(authorizer, configure)

    async def _load(self, authorizer: Authorizer, configure: Callable[[Policy], None]) -> None:
        try:
            policy = await asyncio.to_thread(load_policy, self._path, self._statements)
            authorizer.check(policy)
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
        await woken_or_later(self._clock, self._wake, LOOK_SECONDS)
        asked = self._wake.is_set()
        self._wake.clear()
        return asked
