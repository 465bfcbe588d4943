"""The claim key while the sidecar runs: another one is taken once the database believes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sidecar.app.file_signature import Signature, signature_of
from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError, UsherError
from sidecar.core.events import ClaimKeyLoaded, Observer
from sidecar.postgres.claim_key import ClaimKey, CurrentKey

LOOK_SECONDS: Final = 5.0
"""Between two looks at the file, and two tries of a key that was not taken."""


class ClaimKeyReloader:
    """Looks at claim_key_file. A key that cannot be read, or is not in the database, changes nothing."""

    def __init__(
        self,
        path: Path,
        current: CurrentKey,
        trouble_of: Callable[[ClaimKey], Awaitable[str | None]],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._path = path
        self._current = current
        self._trouble_of = trouble_of
        self._clock = clock
        self._observer = observer
        self._taken: Signature = None
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            signature = signature_of(self._path)
            if signature != self._taken:
                trouble = await self._take()
                if not trouble:
                    self._taken = signature
                elif trouble != self._trouble:  # said once, though it is tried again
                    self._observer(ClaimKeyLoaded(outcome="refused", detail=trouble))
                self._trouble = trouble
            await self._clock.sleep(LOOK_SECONDS)

    async def _take(self) -> str:
        """What is wrong with the file's key; "" when it is in force."""
        try:
            text = await asyncio.to_thread(self._path.read_text, "utf-8")
            key = ClaimKey.parse(text)
            if key == self._current.key:
                return ""
            trouble = await self._trouble_of(key)
        except SettingsError as error:
            return str(error)
        except UsherError as error:
            return error.message
        except (OSError, UnicodeDecodeError):
            return "claim_key_file cannot be read"
        if trouble:
            return trouble
        self._current.key = key
        self._observer(ClaimKeyLoaded(outcome="loaded"))
        return ""
