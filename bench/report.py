"""What was found, as a table, as results.json, and beside what the run before found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bench.measuring import FIGURES, Case, Gathered
from bench.ratios import INFORMATIVE, RATIOS, Extra

BOTTLENECK: Final = 1.5
"""A generator with less headroom than this may have been the limit of a rate; CPU stays true."""
_HEAD: Final = (
    f"{'work':18} {'who':15} {'by':9} {'out':>4} {'CPU us':>8} {'+-':>4} {'pg us':>7} {'per s':>8} "
    f"{'p50 ms':>8} {'p99 ms':>8} {'MiB':>6} {'gen us':>7}"
)


def document(
    gathered: Gathered, extra: Extra, machine: dict[str, str], command: str, took: float
) -> dict[str, Any]:
    """What results.json holds."""
    ratios, missing = _ratios(gathered, extra)
    return {
        "machine": machine,
        "command": command,
        "seconds": round(took, 1),
        "ratios": ratios,
        "missing": {**missing, **dict(sorted(gathered.missing.items()))},
        "errors": gathered.errors,
        "generator_limited": limited(gathered),
        "extra": {name: _short(value) for name, value in sorted(extra.items())},
        "cases": {
            case.name: {
                figure: {
                    "median": _short(median),
                    "runs": [_short(run[figure]) for run in runs if figure in run],
                }
                for figure in FIGURES
                if (median := gathered.median(case, figure)) is not None
            }
            for case, runs in sorted(gathered.runs.items())
        },
    }


def _ratios(gathered: Gathered, extra: Extra) -> tuple[dict[str, float], dict[str, str]]:
    found, missing = {}, {}
    makers = {ratio.name: ratio.of for ratio in RATIOS} | INFORMATIVE
    for name, make in makers.items():
        value = make(gathered, extra)
        if value is None:
            missing[name] = gathered.missing.get(name, "a figure that it needs is missing")
        else:
            found[name] = _short(value)
    return found, missing


def limited(gathered: Gathered) -> list[str]:
    """Cases whose rate may be the load generator's."""
    return [
        case.name
        for case in sorted(gathered.runs)
        if 0 < (gathered.median(case, "headroom") or 0) < BOTTLENECK
    ]


def table(gathered: Gathered) -> str:
    """All cases, a line each."""
    lines = [_HEAD]
    for case in sorted(gathered.runs):
        lines.append(_line(gathered, case))
    return "\n".join(lines)


def _line(gathered: Gathered, case: Case) -> str:
    def cell(figure: str, width: int, digits: int) -> str:
        value = gathered.median(case, figure)
        return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"

    return (
        f"{case.work:18} {case.target:15} {case.protocol[:9]:9} {case.outstanding:>4} {cell('cpu_us', 8, 0)} "
        f"{gathered.spread(case, 'cpu_us') * 100:>3.0f}% {cell('pg_us', 7, 0)} {cell('rate', 8, 0)} "
        f"{cell('p50_ms', 8, 2)} {cell('p99_ms', 8, 2)} {cell('peak_mib', 6, 0)} {cell('generator_us', 7, 0)}"
    )


def promises(found: dict[str, Any], before: dict[str, Any]) -> str:
    """The ratios, their targets, and what they were in the run before."""
    lines = [f"{'ratio':30} {'now':>8} {'before':>8} {'target':>8}  "]
    earlier = before.get("ratios", {})
    for ratio in RATIOS:
        sign = ">=" if ratio.at_least else "<="
        now = found["ratios"].get(ratio.name)
        verdict = "missing" if now is None else "met" if ratio.met(now) else "MISSED"
        then = _cell(earlier.get(ratio.name))
        lines.append(f"{ratio.name:30} {_cell(now)} {then} {sign}{ratio.target:>6g}  {verdict}")
    for name in INFORMATIVE:
        lines.append(f"{name:30} {_cell(found['ratios'].get(name))} {_cell(earlier.get(name))}")
    if found["missing"]:
        lines += ["", "missing:"] + [f"  {name}: {why}" for name, why in found["missing"].items()]
    if found["errors"]:
        lines += ["", "calls that failed:"] + [
            f"  {name}: {codes}" for name, codes in found["errors"].items()
        ]
    if found["generator_limited"]:
        lines += ["", f"rates that may be the generator's (headroom below {BOTTLENECK}), CPU is not:"]
        lines += [f"  {name}" for name in found["generator_limited"]]
    return "\n".join(lines)


def earlier(path: Path) -> dict[str, Any]:
    """What the run before wrote; nothing when there was none."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.3g}':>8}"


def _short(value: float) -> float:
    return float(f"{value:.5g}")
