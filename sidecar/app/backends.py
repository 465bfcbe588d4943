"""The way to the database, whole: what runs scoped statements, and what keeps it in health."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.app.claim_key_reload import ClaimKeyReloader
from sidecar.config import Config
from sidecar.config.neon_settings import NEON_HTTP, neon_settings
from sidecar.core.clock import Clock
from sidecar.core.events import Observer
from sidecar.core.health import Trouble
from sidecar.core.issuer import Issuer, TokenRequest
from sidecar.core.revocations import RevocationStore
from sidecar.core.transactions import TransactionBackend
from sidecar.postgres.check_database import DatabaseCheck
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.detection import DetectedBackend
from sidecar.postgres.neon_http.backend import NeonHttpBackend
from sidecar.postgres.neon_http.exchange import Exchange
from sidecar.postgres.neon_http.watch import Watch
from sidecar.postgres.pool import Connect, Pool
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.scoped_backend import Identity
from sidecar.postgres.session_jwt import SessionJwtBackend
from sidecar.postgres.session_keys import with_session_key
from sidecar.postgres.signed_claims import SignedClaimsBackend, try_key
from sidecar.web.sql_client import SqlClient

PROBE_SUBJECT: Final = "usher-probe"
"""Whom the sidecar names when it looks at a database of Neon's for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendParts:
    """A backend and its life. Built, but not started."""

    backend: TransactionBackend
    trouble: Trouble
    """Why the database cannot be used now, in public words; None when it can."""
    connections: Callable[[], tuple[int, int, int]]
    """Open connections, those in use, and calls that wait for one."""
    run: Callable[[], Coroutine[Any, Any, None]]
    """Connects and keeps `trouble` true, until cancelled."""
    close: Callable[[float], Awaitable[None]]
    """Ends all connections; busy ones have so many seconds."""
    revocations: RevocationStore | None = None
    """The deny list in the database; None where it has none: then it is this process's alone."""


def build_backend(
    config: Config, clock: Clock, observer: Observer, issuer: Callable[[], Issuer]
) -> BackendParts:
    """The backend that the settings ask for. Raises SettingsError for what cannot be served."""
    if config.database_backend == NEON_HTTP:
        return _neon_http(config, clock, observer, issuer)
    return _postgres(config, clock, observer)


def _postgres(config: Config, clock: Clock, observer: Observer) -> BackendParts:
    key = CurrentKey(ClaimKey.parse(config.claim_key)) if config.claim_key else None
    settings, pooling = config.claim_settings, config.pool_settings.pooling
    pool = Pool(
        config.pool_settings,
        DatabaseCheck(settings, key),
        clock,
        observer,
        opening(config),
    )

    def connections() -> tuple[int, int, int]:
        state = pool.state
        return state.size, state.in_use, state.waiting

    backend: TransactionBackend
    if settings.identity is Identity.SESSION_JWT or key is None:
        backend = SessionJwtBackend(pool, settings)
    elif settings.identity is Identity.AUTO:
        backend = DetectedBackend(pool, settings, key, pooling)
    else:
        backend = SignedClaimsBackend(pool, settings, key, pooling)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pool.run(), name="pool")
            if key is not None and config.claim_key_file:
                believed = functools.partial(try_key, pool, settings)
                reloader = ClaimKeyReloader(Path(config.claim_key_file), key, believed, clock, observer)
                tasks.create_task(reloader.run(), name="claim key")

    return BackendParts(
        backend=backend,
        trouble=lambda: pool.trouble,
        connections=connections,
        run=run,
        close=pool.close,
        revocations=PostgresRevocations(config.pool_settings, key, clock) if key else None,
    )


def opening(config: Config) -> Callable[[Connect], Connect]:
    """Opens each session with a key for pg_session_jwt, unless none is wanted or none could arrive."""
    if config.claim_settings.identity is Identity.SIGNED_CLAIMS or not config.pool_settings.own_sessions:
        return lambda connect: connect
    return functools.partial(
        with_session_key, database_url=config.database_url, role=config.claim_settings.role
    )


def _neon_http(
    config: Config, clock: Clock, observer: Observer, issuer: Callable[[], Issuer]
) -> BackendParts:
    settings = neon_settings(config)
    ca_file = Path(config.neon_ca_file) if config.neon_ca_file else None
    client = SqlClient(config.neon_sql_url or settings.target.sql_url, settings.concurrency, ca_file)
    exchange = Exchange(client.post, lambda payload: issuer().sign(payload), settings, clock)
    probe = TokenRequest(subject=PROBE_SUBJECT, claims={})
    watch = Watch(
        exchange, client.ping, lambda: issuer().scope_of_principal(probe), settings, clock, observer
    )

    def connections() -> tuple[int, int, int]:
        running, waiting = exchange.counts
        return running, running, waiting

    async def close(grace: float) -> None:
        await watch.close(grace)
        await client.close()

    return BackendParts(
        backend=NeonHttpBackend(exchange, settings, watch),
        trouble=lambda: watch.trouble,
        connections=connections,
        run=watch.run,
        close=close,
    )
