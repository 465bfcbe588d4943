"""Metrics: a reader of events, on a registry of its own. docs/telemetry.md describes every name.

Label values come from closed sets: codes, reasons and the methods of the contract. Anything else is counted
as "other", so that nobody outside can make a new series.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from sidecar import __version__
from sidecar.core import events
from sidecar.core.callers import Proof
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.deny_list import By
from sidecar.core.following import Follower
from sidecar.core.keyring import Step
from sidecar.core.revocations import Revocations
from sidecar.core.rotation_settings import RotationSettings
from sidecar.telemetry.exposition import Together, families_of, render
from sidecar.telemetry.gauges import (
    KeyGauges,
    Keys,
    ListenerGauges,
    PoolCounts,
    PoolGauges,
    RevocationGauges,
)
from sidecar.telemetry.key_store_gauges import KeyStoreGauges
from sidecar.telemetry.worker_gauges import ReadWorkers, WorkerGauges

M = TypeVar("M", Counter, Gauge, Histogram)

OTHER: Final = "other"
MOST_SERIES: Final = 250
"""Of one metric, as a last resort; no closed set comes near."""
MOST_DECISIONS: Final = 4000
"""Of the policy's decisions: the largest policy that one server is thought to serve has some 200 callers."""

SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# A time of creation for every series, as gauges of their own: nobody asks for them here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Series(Generic[M]):
    """The series of a metric, each looked up once: `labels()` costs more than all the rest of an update."""

    def __init__(self, metric: M, most: int = MOST_SERIES) -> None:
        self._metric: M = metric
        self._most = most
        self._known: dict[tuple[str, ...], M] = {}

    def of(self, *values: str) -> M:
        """The series with these label values."""
        series = self._known.get(values)
        if series is None:
            if len(self._known) >= self._most:
                values = (OTHER,) * len(values)
            series = self._known[values] = self._metric.labels(*values)
        return series


class Metrics:
    """Counts what happens."""

    def __init__(self, clock: Clock, rpcs: Iterable[str], *, answers_calls: bool = True) -> None:
        """`rpcs` names every method of the contract as package.Service/Method.

        A process that answers no calls has no gauges of what they need: 0 would be a database that is down.
        """
        self._clock = clock
        self._rpcs = {tuple(rpc.split("/", 1)) for rpc in rpcs}
        self._registry = CollectorRegistry()
        self._of_calls = self._registry if answers_calls else None
        self._keys = KeyGauges(clock)
        self._key_store = KeyStoreGauges()
        self._pool = PoolGauges()
        self._revocations = RevocationGauges()
        self._jwks_listener = ListenerGauges()
        self._workers = WorkerGauges()
        for collector in (
            self._keys,
            self._key_store,
            self._pool,
            self._revocations,
            self._jwks_listener,
            self._workers,
        ):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._declare()
        self._start_at_zero()
        self._readers: dict[type, Callable[[Any], None]] = {
            events.RpcFinished: self._rpc_finished,
            events.RpcFault: lambda event: self._faults.inc(),
            events.TokenIssued: lambda event: self._tokens.of(event.alg).inc(),
            events.TokenReused: lambda event: self._reused.of(event.alg).inc(),
            events.TokenRefused: lambda event: self._refused.of(event.reason).inc(),
            events.QueryFinished: self._query_finished,
            events.KeyStepped: lambda event: self._steps.of(event.step).inc(),
            events.RotationFailed: lambda event: self._rotation_failures.inc(),
            events.KeyStoreStateChanged: lambda event: self._store_up.set(event.reachable),
            events.KeyStoreConflict: lambda event: self._conflicts.inc(),
            events.KeyStoreOlder: lambda event: self._store_older.inc(),
            events.KeyHeldBack: lambda event: self._held_back.inc(),
            events.KeyActivatedUnseen: lambda event: self._unseen.inc(),
            events.ClockSkewed: lambda event: self._skewed.set(event.skewed),
            events.JwksServed: self._jwks_served,
            events.KeySetRefused: lambda event: self._sets_refused.inc(),
            events.PublicHttpEnded: lambda event: self._jwks_restarts.inc(),
            events.WorkerEnded: self._workers.ended,
            events.DatabaseStateChanged: lambda event: self._db_up.set(event.reachable),
            events.ConnectionDiscarded: lambda event: self._discarded.of(event.cause).inc(),
            events.SafetyWeakened: lambda event: self._weakened.of(event.setting).set(1),
            events.PolicyDecided: lambda event: self._decisions.of(
                event.caller, event.method, event.verdict
            ).inc(),
            events.PolicyLoaded: self._policy_loaded,
            events.CallerRefused: lambda event: self._callers_refused.of(event.proof).inc(),
            events.CallerKeysFetched: self._caller_keys_fetched,
            events.TlsLoaded: self._tls_loaded,
            events.RevocationsRead: lambda event: self._revocation_reads.of(event.outcome).inc(),
            events.TokensRevoked: lambda event: self._revocation_changes.of(event.action, event.by).inc(),
            events.ClaimKeyLoaded: lambda event: self._claim_key_reloads.of(event.outcome).inc(),
        }

    def observe(self, event: events.Event) -> None:
        """An Observer."""
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def watch_keys(self, keys: Keys, settings: RotationSettings) -> None:
        """Reads this signer's key ring at every scrape."""
        self._keys.watch(keys, settings)

    def watch_key_store(self, follower: Follower, settings: RotationSettings) -> None:
        """Reads what this follower knows of its store at every scrape."""
        self._key_store.watch(follower, settings)

    def watch_jwks_listener(self, lag: Callable[[], float]) -> None:
        """Reads at every scrape how late the thread is that serves the key set."""
        self._jwks_listener.watch(lag)

    def watch_pool(self, read: PoolCounts) -> None:
        """Reads these counts of the connection pool at every scrape."""
        self._pool.watch(read)

    def watch_revocations(self, revocations: Revocations) -> None:
        """Reads this deny list at every scrape."""
        self._revocations.watch(revocations)

    def watch_workers(self, read: ReadWorkers) -> None:
        """Reads the state of these workers at every scrape."""
        self._workers.watch(read)

    def families(self) -> Any:
        """All metrics as JSON holds them, for the process that shows those of several."""
        return families_of(self._registry)

    def render(self, accept: str | None, workers: Mapping[int, Any] | None = None) -> tuple[bytes, str]:
        """All metrics and their content type, with what `families` of other processes gave, by number."""
        return render(Together(self._registry, workers) if workers else self._registry, accept)

    async def answer(self, accept: str | None) -> tuple[bytes, str]:
        """As `render`, of this process alone, for who waits for an answer."""
        return self.render(accept)

    def names(self) -> list[str]:
        """The name of every metric, as Prometheus shows it without the parts of a histogram."""
        suffixes = {"counter": "_total", "info": "_info"}
        return sorted(metric.name + suffixes.get(metric.type, "") for metric in self._registry.collect())

    def _declare(self) -> None:
        self._rpc_count = self._counter(
            "usher_rpcs_total", "gRPC calls answered.", "service", "method", "code"
        )
        self._rpc_seconds = self._histogram(
            "usher_rpc_duration_seconds",
            "Time from a gRPC call's arrival to its answer.",
            "service",
            "method",
        )
        self._rpc_errors = self._counter(
            "usher_rpc_errors_total",
            "gRPC calls that failed, by reason and by whose fault.",
            "reason",
            "blame",
        )
        self._faults = self._plain_counter("usher_faults_total", "Faults in Usher itself; the log has each.")
        self._tokens = self._counter("usher_tokens_issued_total", "Tokens signed.", "alg")
        self._reused = self._counter("usher_tokens_reused_total", "Tokens given once more.", "alg")
        self._refused = self._counter(
            "usher_token_verifications_refused_total", "Tokens that did not verify.", "reason"
        )
        self._queries = self._counter(
            "usher_queries_total", 'Scoped queries; outcome is "ok" or a reason.', "backend", "outcome"
        )
        self._statements = self._plain_counter(
            "usher_query_statements_total", "Statements of scoped queries and transactions."
        )
        self._rows = self._plain_counter("usher_query_rows_total", "Rows returned by scoped queries.")
        self._truncated = self._plain_counter(
            "usher_query_truncated_total", "Scoped queries whose rows were cut at the limit."
        )
        self._query_seconds = self._histogram(
            "usher_query_duration_seconds",
            "Time of a scoped query from the request for a connection to the answer.",
            "backend",
        )
        self._db_up = Gauge(
            "usher_db_up", "Whether the database can be used: 1 or 0.", registry=self._of_calls
        )
        self._discarded = self._counter(
            "usher_db_connections_discarded_total",
            "Connections closed because they might not be clean.",
            "cause",
        )
        self._steps = self._counter("usher_rotation_steps_total", "Changes of a signing key's state.", "step")
        self._rotation_failures = self._plain_counter(
            "usher_rotation_failures_total", "Rotation steps that failed and are tried again."
        )
        self._store_up = Gauge(
            "usher_key_store_up", "Whether the key store can be used: 1 or 0.", registry=self._registry
        )
        self._conflicts = self._plain_counter(
            "usher_key_store_conflicts_total", "Changes of the ring that another replica was first with."
        )
        self._store_older = self._plain_counter(
            "usher_key_store_older_total", "Times that the key store held an older ring than was served here."
        )
        self._held_back = self._plain_counter(
            "usher_key_held_back_total", "Keys that had to wait for a named verifier to fetch them."
        )
        self._unseen = self._plain_counter(
            "usher_key_activated_unseen_total", "Keys that signed before a named verifier had fetched them."
        )
        self._skewed = Gauge(
            "usher_clock_skewed",
            "Whether this machine's clock and the key store's differ by seconds: 1 or 0.",
            registry=self._registry,
        )
        self._jwks = self._counter(
            "usher_jwks_requests_total", "HTTP requests for the JWKS.", "code", "agent"
        )
        self._jwks_last = self._gauge(
            "usher_jwks_last_fetch_timestamp_seconds", "When the JWKS was last fetched with success.", "agent"
        )
        self._jwks_restarts = self._plain_counter(
            "usher_jwks_restarts_total", "Times that the process of the JWKS listener had to be replaced."
        )
        self._sets_refused = self._plain_counter(
            "usher_jwks_sets_refused_total",
            "Key sets that were not published, because they were older than the one served, or empty.",
        )
        self._weakened = self._gauge(
            "usher_safety_weakened", "Settings in force that weaken safety: 1 each.", "setting"
        )
        self._decisions = _Series(
            Counter(
                "usher_policy_decisions_total",
                "Calls that the policy allowed or refused.",
                ("caller", "method", "verdict"),
                registry=self._registry,
            ),
            MOST_DECISIONS,
        )
        self._reloads = self._counter(
            "usher_policy_reloads_total", "Readings of the policy file, by outcome.", "outcome"
        )
        self._stale = Gauge(
            "usher_policy_stale",
            "Whether the policy file is newer than the policy in force, because it was refused: 1 or 0.",
            registry=self._of_calls,
        )
        self._callers = Gauge(
            "usher_policy_callers", "Callers in the policy in force.", registry=self._of_calls
        )
        self._callers_refused = self._counter(
            "usher_callers_refused_total", "Calls from nobody known, by the proof that did not hold.", "proof"
        )
        self._caller_fetches = self._counter(
            "usher_caller_jwks_fetches_total", "Fetches of the keys of service-account tokens.", "outcome"
        )
        self._caller_keys = Gauge(
            "usher_caller_jwks_keys", "Keys of service-account tokens in use.", registry=self._of_calls
        )
        self._claim_key_reloads = self._counter(
            "usher_claim_key_reloads_total", "Readings of another claim key, by outcome.", "outcome"
        )
        self._tls_reloads = self._counter(
            "usher_tls_reloads_total", "Readings of the TLS files, by outcome.", "outcome"
        )
        self._tls_stale = Gauge(
            "usher_tls_stale",
            "Whether the TLS files are newer than what is in force, because they were refused: 1 or 0.",
            registry=self._of_calls,
        )
        self._tls_expiry = Gauge(
            "usher_tls_certificate_expiry_timestamp_seconds",
            "When the server's certificate in force expires; 0 without TLS.",
            registry=self._of_calls,
        )
        self._revocation_reads = self._counter(
            "usher_revocation_reads_total", "Readings of the deny list, by outcome.", "outcome"
        )
        self._revocation_changes = self._counter(
            "usher_revocation_changes_total", "Entries made and removed here.", "action", "by"
        )
        self._build = self._gauge("usher_build_info", "The version that runs: always 1.", "version", "python")

    def _start_at_zero(self) -> None:
        """Makes series before their first event: a rate can only be taken from a series that was there."""
        for service, method in self._rpcs:
            self._rpc_count.of(service, method, "OK")
            self._rpc_seconds.of(service, method)
        for step in Step:
            self._steps.of(step.value)
        for outcome in ("loaded", "refused"):
            self._reloads.of(outcome)
            self._tls_reloads.of(outcome)
        for proof in Proof:
            self._callers_refused.of(proof.value)
        for outcome in ("fetched", "failed"):
            self._caller_fetches.of(outcome)
        for outcome in ("read", "failed"):
            self._revocation_reads.of(outcome)
        for by in By:
            self._revocation_changes.of("revoke", by.value)
        for agent in ("neon-proxy", "browser", OTHER):
            self._jwks.of("200", agent)
        self._build.of(__version__, platform.python_version()).set(1)

    def _rpc_finished(self, event: events.RpcFinished) -> None:
        rpc = event.service, event.method
        service, method = rpc if rpc in self._rpcs else (OTHER, OTHER)
        self._rpc_count.of(service, method, event.code).inc()
        self._rpc_seconds.of(service, method).observe(event.seconds)
        if event.reason:
            self._rpc_errors.of(event.reason, event.blame).inc()

    def _query_finished(self, event: events.QueryFinished) -> None:
        self._queries.of(event.backend, event.outcome).inc()
        self._query_seconds.of(event.backend).observe(event.database_seconds)
        self._statements.inc(event.statements)
        self._rows.inc(event.rows)
        if event.truncated:
            self._truncated.inc()

    def _policy_loaded(self, event: events.PolicyLoaded) -> None:
        self._reloads.of(event.outcome).inc()
        self._stale.set(event.outcome != "loaded")
        self._callers.set(event.callers)

    def _caller_keys_fetched(self, event: events.CallerKeysFetched) -> None:
        self._caller_fetches.of(event.outcome).inc()
        self._caller_keys.set(event.keys)

    def _tls_loaded(self, event: events.TlsLoaded) -> None:
        self._tls_reloads.of(event.outcome).inc()
        self._tls_stale.set(event.outcome != "loaded")
        self._tls_expiry.set(event.expires_at)

    def _jwks_served(self, event: events.JwksServed) -> None:
        self._jwks.of(str(event.status), event.agent).inc(event.count)
        if event.status in (200, 304):
            self._jwks_last.of(event.agent).set(self._clock.now())

    def _plain_counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> _Series[Counter]:
        return _Series(Counter(name, text, labels, registry=self._registry))

    def _gauge(self, name: str, text: str, *labels: str) -> _Series[Gauge]:
        return _Series(Gauge(name, text, labels, registry=self._registry))

    def _histogram(self, name: str, text: str, *labels: str) -> _Series[Histogram]:
        return _Series(Histogram(name, text, labels, registry=self._registry, buckets=SECONDS_BUCKETS))


def documented_names() -> list[str]:
    """The name of every metric that docs/telemetry.md must describe."""
    return Metrics(SystemClock(), ()).names()
