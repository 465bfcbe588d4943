"""Every event in, Prometheus' own text out, and no label that came from outside."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.core import events, keyring
from sidecar.core.keyring import RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings
from sidecar.core.signer import Signer
from sidecar.telemetry.metrics import MOST_SERIES, Metrics, documented_names
from sidecar.telemetry.worker_gauges import WorkerState
from tests.fakes import START, FakeClock, Recorder

RPCS = ("usher.v1.TokenService/IssueToken", "usher.v1.QueryService/RunScopedQuery")
DOCS = Path(__file__).parent.parent.parent / "docs/telemetry.md"
PROMTOOL = shutil.which("promtool")


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    text = metrics.render(None)[0].decode()
    found = [
        sample.value
        for family in parse_text(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def finished(
    *,
    rpc: str = RPCS[0],
    code: str = "OK",
    reason: str = "",
    blame: str = "",
    seconds: float = 0.003,
) -> events.RpcFinished:
    service, method = rpc.split("/")
    return events.RpcFinished(
        service=service,
        method=method,
        code=code,
        reason=reason,
        blame=blame,
        seconds=seconds,
        request_id="request-1",
    )


def busy_metrics() -> Metrics:
    """Metrics with a value in every one."""
    clock = FakeClock()
    metrics = Metrics(clock, RPCS)
    settings = RotationSettings()
    ring, _ = keyring.begin(generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0), START)
    metrics.watch_keys(Signer(ring, settings, "https://issuer.example", clock, Recorder()), settings)
    metrics.watch_pool(lambda: (5, 2, 1))
    revocations = Revocations(
        MemoryRevocations(clock), RevocationSettings(least=3720), clock, metrics.observe
    )
    metrics.watch_revocations(revocations)
    metrics.watch_jwks_listener(lambda: 0.002)
    metrics.watch_workers(lambda: [WorkerState(up=True, ready=True)] * 2)
    seen: list[events.Event] = [
        finished(),
        finished(code="PERMISSION_DENIED", reason="ROW_LEVEL_SECURITY", blame="caller"),
        events.RpcFault(method="x/y", request_id="r", error=ValueError("secret")),
        events.CallsRefused(count=7, inside=40),
        events.TokenIssued(alg="ES256", kid="kid-1", ttl_seconds=300),
        events.TokenReused(alg="ES256", kid="kid-1"),
        events.TokenRefused(reason="TOKEN_EXPIRED"),
        events.QueryFinished(
            backend="claims", outcome="ok", rows=7, truncated=True, statements=3, database_seconds=0.02
        ),
        events.KeyStepped(step="activate", kid="kid-1", alg="ES256"),
        events.RotationFailed(error=OSError("secret")),
        events.KeyStoreStateChanged(kind="postgres", reachable=True, detail=""),
        events.KeyStoreConflict(version=2),
        events.KeyStoreOlder(found=1, served=2),
        events.KeyHeldBack(kid="kid-1", verifiers="neon-proxy", goes_on_at=START),
        events.KeyActivatedUnseen(kid="kid-1", verifiers="neon-proxy"),
        events.ClockSkewed(skew=30.5, skewed=True, signs=True),
        events.JwksServed(status=200, agent="neon-proxy"),
        events.KeySetRefused(version=4, served=5, empty=False),
        events.PublicHttpEnded(code=-9),
        events.WorkerEnded(worker=1, code=-9, again_in=0.5),
        events.WorkerNotStarted(worker=1, detail="grpc_address: taken"),
        events.DatabaseStateChanged(reachable=True, detail="the database is ready"),
        events.ConnectionDiscarded(cause="TimeoutError"),
        events.Lifecycle(phase="ready"),
        events.SafetyWeakened(setting="allow_anonymous", consequence="callers are not authenticated"),
        events.PolicyDecided(caller="orders", method="IssueToken", verdict="allowed", rule=""),
        events.PolicyLoaded(outcome="loaded", callers=3),
        events.CallerRefused(proof="key", detail="authorization: the key is no caller's"),
        events.CallerKeysFetched(outcome="failed", keys=2, detail="TimeoutError"),
        events.TlsLoaded(outcome="refused", expires_at=START, detail="tls_key_file: gone"),
        events.RevocationsRead(outcome="failed", detail="the database does not answer"),
        events.TokensRevoked(by="sub", action="revoke"),
        events.ClaimKeyLoaded(outcome="loaded"),
    ]
    assert {type(event) for event in seen} == set(events.Event.__args__)
    for event in seen:
        metrics.observe(event)
    return metrics


def test_every_event_is_counted() -> None:
    metrics = busy_metrics()
    rpc = {"service": "usher.v1.TokenService", "method": "IssueToken"}
    assert sample(metrics, "usher_rpcs_total", **rpc, code="OK") == 1
    assert sample(metrics, "usher_rpcs_total", **rpc, code="PERMISSION_DENIED") == 1
    assert sample(metrics, "usher_rpc_errors_total", reason="ROW_LEVEL_SECURITY", blame="caller") == 1
    assert sample(metrics, "usher_faults_total") == 1
    assert sample(metrics, "usher_tokens_issued_total", alg="ES256") == 1
    assert sample(metrics, "usher_tokens_reused_total", alg="ES256") == 1
    assert sample(metrics, "usher_token_verifications_refused_total", reason="TOKEN_EXPIRED") == 1
    assert sample(metrics, "usher_queries_total", backend="claims", outcome="ok") == 1
    assert sample(metrics, "usher_query_statements_total") == 3
    assert sample(metrics, "usher_query_rows_total") == 7
    assert sample(metrics, "usher_query_truncated_total") == 1
    assert sample(metrics, "usher_query_duration_seconds_sum", backend="claims") == 0.02
    assert sample(metrics, "usher_rotation_steps_total", step="activate") == 1
    assert sample(metrics, "usher_rotation_failures_total") == 1
    assert sample(metrics, "usher_key_store_up") == 1
    for name in ("store_conflicts", "store_older", "held_back", "activated_unseen"):
        assert sample(metrics, f"usher_key_{name}_total") == 1
    assert sample(metrics, "usher_jwks_requests_total", code="200", agent="neon-proxy") == 1
    assert sample(metrics, "usher_jwks_last_fetch_timestamp_seconds", agent="neon-proxy") == START
    assert sample(metrics, "usher_worker_restarts_total", worker="1") == 1
    assert sample(metrics, "usher_db_up") == 1
    assert sample(metrics, "usher_db_connections_discarded_total", cause="TimeoutError") == 1
    assert sample(metrics, "usher_safety_weakened", setting="allow_anonymous") == 1
    decided = {"caller": "orders", "method": "IssueToken", "verdict": "allowed"}
    assert sample(metrics, "usher_policy_decisions_total", **decided) == 1
    assert sample(metrics, "usher_policy_reloads_total", outcome="loaded") == 1
    assert (sample(metrics, "usher_policy_callers"), sample(metrics, "usher_policy_stale")) == (3, 0)
    assert sample(metrics, "usher_callers_refused_total", proof="key") == 1
    assert sample(metrics, "usher_caller_jwks_fetches_total", outcome="failed") == 1
    assert sample(metrics, "usher_caller_jwks_keys") == 2
    assert sample(metrics, "usher_claim_key_reloads_total", outcome="loaded") == 1
    assert sample(metrics, "usher_tls_reloads_total", outcome="refused") == 1
    assert sample(metrics, "usher_tls_certificate_expiry_timestamp_seconds") == START
    assert sample(metrics, "usher_tls_stale") == 1
    assert sample(metrics, "usher_revocation_reads_total", outcome="failed") == 1
    assert sample(metrics, "usher_revocation_changes_total", action="revoke", by="sub") == 1
    assert sample(metrics, "usher_revocation_list_age_seconds") == float("inf")
    assert sample(metrics, "usher_keys", state="active") == 1
    assert sample(metrics, "usher_db_pool_connections", state="idle") == 3


def test_durations_fall_into_buckets() -> None:
    metrics = Metrics(FakeClock(), RPCS)
    for seconds in (0.0004, 0.003, 0.003, 11.0):
        metrics.observe(finished(seconds=seconds))
    rpc = {"service": "usher.v1.TokenService", "method": "IssueToken"}
    buckets = {
        le: sample(metrics, "usher_rpc_duration_seconds_bucket", **rpc, le=le)
        for le in ("0.0005", "0.0025", "0.005", "10.0", "+Inf")
    }
    assert buckets == {"0.0005": 1, "0.0025": 1, "0.005": 3, "10.0": 3, "+Inf": 4}


def test_series_exist_before_their_first_event() -> None:
    metrics = Metrics(FakeClock(), RPCS)
    assert (
        sample(
            metrics, "usher_rpcs_total", service="usher.v1.QueryService", method="RunScopedQuery", code="OK"
        )
        == 0
    )
    assert sample(metrics, "usher_rotation_steps_total", step="revoke") == 0
    assert sample(metrics, "usher_jwks_requests_total", code="200", agent="neon-proxy") == 0
    assert sample(metrics, "usher_db_up") == 0
    # A time that never was is no time.
    assert sample(metrics, "usher_jwks_last_fetch_timestamp_seconds", agent="neon-proxy") is None


def test_the_database_goes_and_comes_back() -> None:
    metrics = Metrics(FakeClock(), RPCS)
    for reachable in (True, False):
        metrics.observe(events.DatabaseStateChanged(reachable=reachable, detail=""))
        assert sample(metrics, "usher_db_up") == reachable


async def test_only_a_fetch_that_brought_the_keys_counts_as_one() -> None:
    clock = FakeClock()
    metrics = Metrics(clock, RPCS)
    for status in (200, 405, 304):
        await clock.advance(10)
        metrics.observe(events.JwksServed(status=status, agent="other"))
        fetched = {200: START + 10, 405: START + 10, 304: START + 30}[status]
        assert sample(metrics, "usher_jwks_last_fetch_timestamp_seconds", agent="other") == fetched


def test_methods_outside_the_contract_never_become_labels() -> None:
    metrics = Metrics(FakeClock(), RPCS)
    lines = metrics.render(None)[0].count(b"\n")
    for number in range(1000):
        metrics.observe(finished(rpc=f'evil"\n{number}/x'))
    text, _ = metrics.render(None)
    assert b"evil" not in text
    assert sample(metrics, "usher_rpcs_total", service="other", method="other", code="OK") == 1000
    assert text.count(b"\n") < lines + 30


def test_no_label_grows_without_end() -> None:
    metrics = Metrics(FakeClock(), RPCS)
    for number in range(MOST_SERIES + 50):
        metrics.observe(events.ConnectionDiscarded(cause=f"Error{number}"))
    assert sample(metrics, "usher_db_connections_discarded_total", cause="other") == 50
    assert sample(metrics, "usher_db_connections_discarded_total", cause="Error7") == 1


def test_nothing_secret_is_shown() -> None:
    text = busy_metrics().render(None)[0]
    for secret in (b"secret", b"kid-1", b"request-1"):
        assert secret not in text


def test_two_metrics_do_not_meet() -> None:
    one, other = Metrics(FakeClock(), RPCS), Metrics(FakeClock(), RPCS)
    one.observe(events.TokenIssued(alg="ES256", kid="k", ttl_seconds=1))
    assert sample(one, "usher_tokens_issued_total", alg="ES256") == 1
    assert sample(other, "usher_tokens_issued_total", alg="ES256") is None


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", "text/plain;version=0.0.4", "text/plain;version=x", "\xff,;="]
)
def test_plain_text_is_the_default(accept: str | None) -> None:
    text, content_type = busy_metrics().render(accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert len(list(parse_text(text.decode()))) > 20


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text; version=x",
    ],
)
def test_openmetrics_for_who_accepts_it(accept: str) -> None:
    text, content_type = busy_metrics().render(accept)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith(b"# EOF\n")
    assert len(list(parse_openmetrics(text.decode()))) > 20


def test_names_follow_the_practice() -> None:
    assert not [name for name in documented_names() if not name.startswith(("usher_", "process_", "python_"))]
    text = busy_metrics().render(None)[0].decode()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        assert (kind == "counter") == name.endswith("_total"), name
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert re.search(rf"^# HELP {name} \S.*\.$", text, re.MULTILINE) or not name.startswith("usher_"), (
            name
        )
    assert "_created" not in text


def test_every_name_is_documented_and_every_documented_name_exists() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    in_docs = {name for name in documented if name.startswith(("usher_", "process_", "python_"))}
    # process_ metrics come from /proc, which not every system has.
    assert set(documented_names()) <= in_docs
    assert {name for name in in_docs if not name.startswith("process_")} <= set(documented_names())


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_of() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=busy_metrics().render(None)[0],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_accepts_the_alert_rules_and_they_fire() -> None:
    folder = DOCS.parent.parent / "deploy/prometheus"
    for verb, what, file in (
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        done = subprocess.run(
            [str(PROMTOOL), verb, what, str(folder / file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_alert_rules_use_only_metrics_that_exist() -> None:
    text = (DOCS.parent.parent / "deploy/prometheus/alerts.yml").read_text()
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\busher_\w+", text)}
    assert used
    assert used <= set(documented_names())


def test_a_process_without_calls_says_nothing_of_their_database() -> None:
    metrics = Metrics(FakeClock(), (), answers_calls=False)
    metrics.observe(events.PolicyLoaded(outcome="loaded", callers=3))
    text = metrics.render(None)[0]
    assert b"usher_key_store_up" in text
    for name in (b"usher_db_up", b"usher_policy_stale", b"usher_tls_stale"):
        assert name not in text
