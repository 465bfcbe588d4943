"""The parts of a sidecar, each built whole from those before it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.app import public_http
from sidecar.app.backends import BackendParts, build_backend
from sidecar.app.callers import CallerParts, build_callers
from sidecar.app.key_stores import build_key_store
from sidecar.app.policy_reload import PolicyReloader
from sidecar.config import Config, load_statements
from sidecar.config.key_settings import MEMORY
from sidecar.config.neon_settings import NEON_HTTP
from sidecar.config.stream_settings import stream_settings
from sidecar.connect.methods import Methods
from sidecar.connect.origins import Origins
from sidecar.connect.server import ConnectListener
from sidecar.connect.tls import TlsPaths
from sidecar.core.clock import Clock
from sidecar.core.events import (
    CallerKeysFetched,
    DatabaseStateChanged,
    Event,
    JwksServed,
    KeyStoreStateChanged,
    Observer,
    RevocationsRead,
    SafetyWeakened,
)
from sidecar.core.following import Follower
from sidecar.core.health import Check, Health, Trouble
from sidecar.core.issuer import Issuer
from sidecar.core.key_store import FetchLog, KeyStore
from sidecar.core.policy import Authorizer
from sidecar.core.queries import ScopedQueries
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationStore
from sidecar.core.ring_clock import RingClock
from sidecar.core.rotation import Rotator, join
from sidecar.core.rotation_settings import SAFE_LEAD_SECONDS
from sidecar.core.signer import Signer
from sidecar.core.statements import Catalog
from sidecar.core.streams import ScopedStreams
from sidecar.core.transactions import ScopedTransactions
from sidecar.rpc.calls import CallFactory
from sidecar.rpc.server import RpcListener, handlers
from sidecar.services.access import ACCESS, Listener
from sidecar.services.admission import Admission
from sidecar.services.calls import Calls
from sidecar.services.key_service import KeyService
from sidecar.services.query_service import QueryService
from sidecar.services.revocation_service import RevocationService
from sidecar.services.rpcs import StreamRpc, UnaryRpc, every_rpc
from sidecar.services.token_service import TokenService
from sidecar.telemetry.logs import observe as log
from sidecar.telemetry.metrics import Metrics
from sidecar.web.probes import Probes
from sidecar.web.public_process import PublicProcess
from sidecar.web.server import HttpListener

_CHANGE_CHECKS: Final[frozenset[type]] = frozenset(
    {DatabaseStateChanged, CallerKeysFetched, RevocationsRead, KeyStoreStateChanged}
)
"""The events after which a check may say something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """What a worker has from its supervisor."""

    workers: int
    """How many there are, which share what the settings allow."""
    revocations: RevocationStore
    """The deny list, where the database has none."""
    key_store: KeyStore | None
    """None for one that the settings name, which each worker reaches by itself."""
    built: Callable[[Parts], None]
    """Is given the parts before they start."""
    checked: Callable[[Sequence[Check]], None]
    """Is told of the checks, whenever they change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs. Built, but not started."""

    calls: Calls
    callers: CallerParts
    authorizer: Authorizer
    policy_reloader: PolicyReloader | None
    rotator: Rotator
    follower: Follower
    database: BackendParts
    revocations: Revocations
    health: Health
    observer: Observer
    rpc: RpcListener
    rpc_admin: RpcListener | None
    connect: ConnectListener | None
    metrics: Metrics
    http: HttpParts | None
    """None in a worker, whose supervisor has them for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpParts:
    """The listeners of HTTP."""

    public: PublicProcess
    admin: HttpListener


async def build(config: Config, clock: Clock, reload: asyncio.Event, above: Above | None = None) -> Parts:
    """The parts, with a key ring; `reload` asks for another look at the policy file. `above`: of a worker.

    Raises SettingsError for settings that cannot be served, and UsherError when the key store cannot be used.
    """
    metrics = Metrics(clock, ACCESS)
    rotation = config.rotation_settings
    key_clock = RingClock(clock)
    fetches = FetchLog(key_clock, rotation.verifiers)
    wake: list[Callable[[], None]] = []

    def observe(event: Event) -> None:
        metrics.observe(event)
        log(event)
        if isinstance(event, JwksServed) and event.version:
            fetches.note(event.agent, event.version)
        if type(event) in _CHANGE_CHECKS:
            for listener in wake:
                listener()

    if above is None:
        say_what_weakens(config, observe)
    catalog = _catalog(config)
    reloader = (
        PolicyReloader(Path(config.policy_file), catalog.names, clock, observe, reload)
        if config.policy_file
        else None
    )
    policy = reloader.first() if reloader else None
    authorizer = Authorizer(policy, clock, observe, processes=above.workers if above else 1)
    callers = build_callers(config, policy, clock, observe)

    def the_issuer() -> Issuer:
        return issuer  # it asks the deny list, which may be in the database

    database = build_backend(config, clock, observe, the_issuer)
    shared = above.revocations if above else MemoryRevocations(clock)
    revocations = Revocations(database.revocations or shared, config.revocation_settings, clock, observe)
    store = (above and above.key_store) or await build_key_store(config, clock)
    follower = Follower(store, rotation, key_clock, observe, fetches=fetches)
    try:
        ring = await join(follower, rotation, observe)
    except BaseException:
        await follower.leave()  # else its row holds retired keys back for as long as it might have signed
        raise
    signer = Signer(
        ring, rotation, config.issuer_url, key_clock, observe, revocations, time_trouble=key_clock.trouble
    )
    rotator = Rotator(signer, rotation, clock, observe, follower)
    troubles: dict[str, Trouble] = {
        "keys": signer.trouble,
        "database": database.trouble,
        "revocations": revocations.trouble,
    }
    if callers.keys is not None:
        troubles["caller_keys"] = callers.keys.trouble
    if follower.store.shared:
        troubles["key_store"] = follower.trouble
    health = Health(troubles, clock)
    wake.append(health.wake)
    metrics.watch_keys(signer, rotation)
    metrics.watch_key_store(follower, rotation)
    metrics.watch_pool(database.connections)
    metrics.watch_revocations(revocations)

    issuer = Issuer(signer, config.issuer_settings, key_clock, revocations=revocations)
    queries = ScopedQueries(database.backend, config.query_settings, clock, observe, catalog)
    streams = ScopedStreams(
        database.backend, config.query_settings, stream_settings(config), clock, observe, catalog
    )
    transactions = ScopedTransactions(
        database.backend, queries, config.transaction_max_statements, clock, observe
    )
    calls = Calls(
        clock,
        observe,
        config.default_deadline,
        authorizer,
        Admission(
            clock,
            observe,
            at_once=config.pool_max_size,
            most=config.max_concurrent_calls,
            longest_wait=config.pool_acquire_timeout,
        ),
        max_deadline=config.max_deadline,
        max_stream_deadline=config.max_stream_deadline,
    )
    rpcs = every_rpc(
        TokenService(issuer, signer, authorizer),
        QueryService(issuer, queries, streams, transactions, config.max_message_bytes, authorizer),
        KeyService(signer, rotator, rotation, key_clock, authorizer),
        RevocationService(revocations, authorizer),
        config.max_message_bytes,
    )
    every = handlers(CallFactory(calls, callers.callers.identify), rpcs)
    rpc = functools.partial(
        RpcListener,
        every=every,
        max_message_bytes=config.max_message_bytes,
        max_unread=config.max_unread_calls,
        reflection=config.reflection,
    )
    http = None
    if above is None:
        public = PublicProcess(
            config.http_address,
            lambda: signer.published,
            public_http.command(config.issuer_url, rotation.verifiers, config.log_format, config.log_level),
            clock,
            observe,
            metrics.observe,
        )
        signer.on_publish(public.refresh)
        metrics.watch_jwks_listener(lambda: public.lag)
        probes = Probes(metrics.answer, health.checks)
        admin = HttpListener("admin_http_address", config.admin_http_address, probes.answer, observe)
        http = HttpParts(public=public, admin=admin)
    return Parts(
        calls=calls,
        callers=callers,
        authorizer=authorizer,
        policy_reloader=reloader,
        rotator=rotator,
        follower=follower,
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
        connect=_connect(config, calls, rpcs, callers, clock, observe) if config.connect_address else None,
        metrics=metrics,
        http=http,
    )


def _connect(
    config: Config,
    calls: Calls,
    rpcs: Sequence[UnaryRpc | StreamRpc],
    callers: CallerParts,
    clock: Clock,
    observe: Observer,
) -> ConnectListener:
    door = callers.connect_door
    paths = None
    if config.tls_cert_file:
        client_ca = Path(config.tls_client_ca_file) if config.tls_client_ca_file else None
        paths = TlsPaths(cert=Path(config.tls_cert_file), key=Path(config.tls_key_file), client_ca=client_ca)
    listener = ConnectListener(
        config.connect_address,
        Methods(
            calls,
            rpcs,
            lambda request: callers.callers.identify_at(door, request),
            clock,
            Origins(filter(None, config.connect_origins.split(","))),
        ),
        observe,
        tls=paths,
        mode=int(config.grpc_socket_mode, 8),
    )
    if callers.tls is not None:
        callers.tls.on_change(listener.renew)
    return listener


def _catalog(config: Config) -> Catalog:
    if not config.statements_dir:
        return Catalog()
    return load_statements(Path(config.statements_dir), config.max_sql_bytes)


def say_what_weakens(config: Config, observe: Observer) -> None:
    for setting, consequence in config.weakened():
        observe(SafetyWeakened(setting=setting, consequence=consequence))
    if config.database_backend == NEON_HTTP and config.key_store == MEMORY:
        observe(
            SafetyWeakened(
                setting="key_store",
                consequence="after a restart Neon refuses every token until it fetches the new keys, by "
                "report for up to an hour; key_store=postgres keeps them",
            )
        )
    if config.rotation_lead_time < SAFE_LEAD_SECONDS and not config.unsafe_rotation_timing:
        observe(
            SafetyWeakened(
                setting="rotation_lead_time",
                consequence=f"verifiers that cache keys for longer than {config.rotation_lead_time} s, as "
                "Neon's hosted one is seen to do, refuse tokens after each rotation",
            )
        )
