"""Metrics of several processes as one text, which Prometheus' own parsers read."""

from __future__ import annotations

import json

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.core.events import RpcFinished
from sidecar.telemetry.metrics import Metrics
from tests.fakes import FakeClock

RPC = "usher.v1.TokenService/IssueToken"
COUNT = "usher_rpcs_total"


def counted(times: int) -> Metrics:
    metrics = Metrics(FakeClock(), (RPC,))
    service, method = RPC.split("/")
    for _ in range(times):
        metrics.observe(
            RpcFinished(
                service=service, method=method, code="OK", reason="", blame="", seconds=0.003, request_id="1"
            )
        )
    return metrics


def test_each_family_comes_once_with_the_series_of_all() -> None:
    passed = {number: json.loads(json.dumps(counted(number + 1).families())) for number in (0, 1)}
    text, _ = counted(0).render(None, passed)
    families = {family.name: family for family in parse_text(text.decode())}
    assert text.decode().count(f"# TYPE {COUNT} ") == 1
    series = {
        sample.labels.get("worker"): sample.value
        for sample in families["usher_rpcs"].samples
        if sample.name == COUNT
    }
    assert series == {None: 0.0, "0": 1.0, "1": 2.0}
    infinite = families["usher_rpc_duration_seconds"].samples
    assert {sample.labels["le"] for sample in infinite if "le" in sample.labels} >= {"+Inf", "0.005"}


def test_openmetrics_of_several_processes_is_openmetrics() -> None:
    text, kind = counted(1).render("application/openmetrics-text", {0: counted(2).families()})
    assert kind.startswith("application/openmetrics-text")
    names = [family.name for family in parse_openmetrics(text.decode())]
    assert len(names) == len(set(names))
    assert "usher_rpcs" in names


def test_readings_do_not_add_up() -> None:
    supervisor, worker = counted(1), counted(2)
    first, second = (supervisor.render(None, {0: worker.families()})[0].decode() for _ in range(2))
    assert second.count("python_info{") == first.count("python_info{") == 2
    assert supervisor.render(None)[0].decode().count("python_info{") == 1


def test_without_workers_nothing_has_their_label() -> None:
    alone, _ = counted(1).render(None)
    assert b"worker=" not in alone
