"""Medians, ratios and verdicts, from figures that were not measured."""

from __future__ import annotations

import json
from pathlib import Path

from bench import report
from bench.machine import Cpu, spent
from bench.measuring import Case, Gathered
from bench.ratios import BUSY

USHER = Case(work="query10", target="usher", protocol="grpc", outstanding=BUSY)
HONO = Case(work="query10", target="hono", protocol="http", outstanding=BUSY)


def gathered(usher: list[float], hono: list[float]) -> Gathered:
    found = Gathered()
    for case, costs in ((USHER, usher), (HONO, hono)):
        for cost in costs:
            found.add(case, {"cpu_us": cost, "headroom": cost / 100}, {})
    return found


def test_a_ratio_is_one_of_medians_and_is_compared_with_its_target_and_the_run_before(tmp_path: Path) -> None:
    first = report.document(gathered([300, 400, 900], [200, 400, 500]), {}, {}, "make bench", 1.0)
    assert first["ratios"]["query10_grpc_vs_hono"] == 1.0
    path = tmp_path / "results.json"
    assert report.earlier(path) == {}
    path.write_text(json.dumps(first))
    second = report.document(gathered([600], [400]), {}, {}, "make bench", 1.0)
    lines = report.promises(second, report.earlier(path)).splitlines()
    assert next(line.split() for line in lines if line.startswith("query10_grpc_vs_hono")) == [
        *("query10_grpc_vs_hono", "1.5", "1", "<=", "1.15", "MISSED"),
    ]
    assert " met" in report.promises(first, {})


def test_more_is_better_where_the_target_is_a_least() -> None:
    for value, verdict in ((0.95, "met"), (0.85, "MISSED")):
        found = report.document(Gathered(), {"overload_goodput": value}, {}, "", 0.0)
        line = next(
            line for line in report.promises(found, {}).splitlines() if line.startswith("overload_goodput")
        )
        assert line.endswith(verdict)


def test_a_ratio_without_its_figures_is_missing_with_the_reason() -> None:
    without = Gathered()
    without.missing["stream_1m_memory_mib"] = "the contract has no StreamScopedQuery yet"
    found = report.document(without, {}, {}, "", 0.0)
    assert found["ratios"] == {}
    assert found["missing"]["stream_1m_memory_mib"] == "the contract has no StreamScopedQuery yet"
    assert "query10_grpc_vs_hono" in found["missing"]


def test_spread_is_half_of_the_range_by_the_median() -> None:
    assert gathered([90, 100, 120], []).spread(USHER, "cpu_us") == 0.15


def test_a_rate_that_the_generator_may_have_limited_is_named() -> None:
    assert report.limited(gathered([149], [151])) == [USHER.name]


def test_the_time_of_a_thread_that_ended_is_not_lost() -> None:
    before = {7: Cpu(by_thread={7: 1.0, 8: 2.0}, whole=3.0)}
    lasting = {7: Cpu(by_thread={7: 1.5, 8: 2.25, 9: 0.125}, whole=3.87)}
    assert spent(before, lasting) == 0.875
    ended = {7: Cpu(by_thread={7: 1.5}, whole=4.0)}
    assert spent(before, ended) == 1.0
