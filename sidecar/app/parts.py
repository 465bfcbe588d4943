"""The parts of a sidecar, each built whole from those before it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sidecar.app.backends import BackendParts, build_backend
from sidecar.app.callers import CallerParts, build_callers
from sidecar.app.policy_reload import PolicyReloader
from sidecar.config import Config, load_statements
from sidecar.core.clock import Clock
from sidecar.core.events import (
    CallerKeysFetched,
    DatabaseStateChanged,
    Event,
    Observer,
    RevocationsRead,
    SafetyWeakened,
)
from sidecar.core.health import Health, Trouble
from sidecar.core.issuer import Issuer
from sidecar.core.keyring import SAFE_LEAD_SECONDS
from sidecar.core.policy import Authorizer
from sidecar.core.queries import ScopedQueries
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations
from sidecar.core.rotation import Rotator, first_ring
from sidecar.core.signer import Signer
from sidecar.core.statements import Catalog
from sidecar.rpc.access import ACCESS, Listener
from sidecar.rpc.calls import CallFactory
from sidecar.rpc.key_service import KeyService
from sidecar.rpc.query_service import QueryService
from sidecar.rpc.revocation_service import RevocationService
from sidecar.rpc.server import RpcListener, handlers
from sidecar.rpc.token_service import TokenService
from sidecar.telemetry.logs import observe as log
from sidecar.telemetry.metrics import Metrics
from sidecar.web.discovery import Discovery
from sidecar.web.probes import Probes
from sidecar.web.server import HttpListener


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs. Built, but not started."""

    calls: CallFactory
    callers: CallerParts
    authorizer: Authorizer
    policy_reloader: PolicyReloader | None
    rotator: Rotator
    database: BackendParts
    revocations: Revocations
    health: Health
    observer: Observer
    rpc: RpcListener
    rpc_admin: RpcListener | None
    public: HttpListener
    admin: HttpListener


async def build(config: Config, clock: Clock, reload: asyncio.Event) -> Parts:
    """The parts, the first keys made; `reload` asks for another look at the policy file.

    Raises SettingsError for settings that cannot be served.
    """
    metrics = Metrics(clock, ACCESS)
    wake: list[Callable[[], None]] = []

    def observe(event: Event) -> None:
        metrics.observe(event)
        log(event)
        if isinstance(event, DatabaseStateChanged | CallerKeysFetched | RevocationsRead):
            for listener in wake:
                listener()

    _say_what_weakens(config, observe)
    catalog = _catalog(config)
    reloader = (
        PolicyReloader(Path(config.policy_file), catalog.names, clock, observe, reload)
        if config.policy_file
        else None
    )
    policy = reloader.first() if reloader else None
    authorizer = Authorizer(policy, clock, observe)
    callers = build_callers(config, policy, clock, observe)
    rotation = config.rotation_settings

    def the_issuer() -> Issuer:
        return issuer  # it asks the deny list, which may be in the database

    database = build_backend(config, clock, observe, the_issuer)
    revocations = Revocations(
        database.revocations or MemoryRevocations(clock), config.revocation_settings, clock, observe
    )
    signer = Signer(
        await first_ring(rotation, clock, observe),
        rotation,
        config.issuer_url,
        clock,
        observe,
        revocations,
    )
    rotator = Rotator(signer, rotation, clock, observe)
    troubles: dict[str, Trouble] = {
        "keys": signer.trouble,
        "database": database.trouble,
        "revocations": revocations.trouble,
    }
    if callers.keys is not None:
        troubles["caller_keys"] = callers.keys.trouble
    health = Health(troubles, clock)
    wake.append(health.wake)
    metrics.watch_keys(signer, rotation)
    metrics.watch_pool(database.connections)
    metrics.watch_revocations(revocations)

    issuer = Issuer(signer, config.issuer_settings, clock, revocations=revocations)
    queries = ScopedQueries(database.backend, config.query_settings, clock, observe, catalog)
    calls = CallFactory(
        clock,
        observe,
        config.default_deadline,
        authorizer,
        callers.callers.identify,
        max_deadline=config.max_deadline,
        max_concurrent=config.max_concurrent_calls,
    )
    every = handlers(
        calls,
        TokenService(issuer, signer, authorizer),
        QueryService(issuer, queries, config.max_message_bytes, authorizer),
        KeyService(signer, rotator, rotation, clock, authorizer),
        RevocationService(revocations, authorizer),
        config.max_message_bytes,
    )
    rpc = functools.partial(
        RpcListener, every=every, max_message_bytes=config.max_message_bytes, reflection=config.reflection
    )
    discovery = Discovery(config.issuer_url, lambda: signer.published, observe)
    probes = Probes(metrics.render, health.checks)
    return Parts(
        calls=calls,
        callers=callers,
        authorizer=authorizer,
        policy_reloader=reloader,
        rotator=rotator,
        database=database,
        revocations=revocations,
        health=health,
        observer=observe,
        rpc=rpc(Listener.DATA, config.grpc_address, door=callers.doors[Listener.DATA]),
        rpc_admin=(
            rpc(Listener.ADMIN, config.grpc_admin_address, door=callers.doors[Listener.ADMIN])
            if config.grpc_admin_address
            else None
        ),
        public=HttpListener("http_address", config.http_address, discovery.answer, observe),
        admin=HttpListener("admin_http_address", config.admin_http_address, probes.answer, observe),
    )


def _catalog(config: Config) -> Catalog:
    if not config.statements_dir:
        return Catalog()
    return load_statements(Path(config.statements_dir), config.max_sql_bytes)


def _say_what_weakens(config: Config, observe: Observer) -> None:
    for setting, consequence in config.weakened():
        observe(SafetyWeakened(setting=setting, consequence=consequence))
    if config.rotation_lead_time < SAFE_LEAD_SECONDS and not config.unsafe_rotation_timing:
        observe(
            SafetyWeakened(
                setting="rotation_lead_time",
                consequence=f"verifiers that cache keys for longer than {config.rotation_lead_time} s, as "
                "Neon's hosted one is seen to do, refuse tokens after each rotation",
            )
        )
