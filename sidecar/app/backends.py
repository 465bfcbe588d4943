"""The way to the database, whole: what runs scoped statements, and what keeps it in health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.app.claim_key_reload import ClaimKeyReloader
from sidecar.config import Config
from sidecar.core.clock import Clock
from sidecar.core.events import Observer
from sidecar.core.health import Trouble
from sidecar.core.queries import Backend
from sidecar.postgres.check_database import check_database
from sidecar.postgres.claim_key import ClaimKey
from sidecar.postgres.pool import Pool
from sidecar.postgres.signed_claims import SignedClaimsBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendParts:
    """A backend and its life. Built, but not started."""

    backend: Backend
    trouble: Trouble
    """Why the database cannot be used now, in public words; None when it can."""
    connections: Callable[[], tuple[int, int, int]]
    """Open connections, those in use, and calls that wait for one."""
    run: Callable[[], Coroutine[Any, Any, None]]
    """Connects and keeps `trouble` true, until cancelled."""
    close: Callable[[float], Awaitable[None]]
    """Ends all connections; busy ones have so many seconds."""


def build_backend(config: Config, clock: Clock, observer: Observer) -> BackendParts:
    """The backend that the settings ask for. Raises SettingsError for what cannot be served."""
    return _postgres(config, clock, observer)


def _postgres(config: Config, clock: Clock, observer: Observer) -> BackendParts:
    async def check(connection: Any) -> str | None:
        return await check_database(connection, settings=config.claim_settings, key=backend.key)

    pool = Pool(config.pool_settings, check, clock, observer)
    key = ClaimKey.parse(config.claim_key)
    backend = SignedClaimsBackend(pool, config.claim_settings, key, config.pool_settings.pooling)

    def connections() -> tuple[int, int, int]:
        state = pool.state
        return state.size, state.in_use, state.waiting

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pool.run(), name="pool")
            if config.claim_key_file:
                reloader = ClaimKeyReloader(Path(config.claim_key_file), backend, clock, observer)
                tasks.create_task(reloader.run(), name="claim key")

    return BackendParts(
        backend=backend,
        trouble=lambda: pool.trouble,
        connections=connections,
        run=run,
        close=pool.close,
    )
