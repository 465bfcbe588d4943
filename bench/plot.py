"""One picture: the CPU of each work by contestant, as bars in SVG, without any library."""

from __future__ import annotations

from html import escape
from typing import Final

from bench.measuring import Case, Gathered
from bench.ratios import BUSY

SHOWN: Final = {
    ("usher", "grpc"): ("Usher, gRPC", "#1f5fa8"),
    ("usher-rs256", "grpc"): ("Usher, gRPC", "#1f5fa8"),
    ("usher", "connect"): ("Usher, Connect", "#5aa1e3"),
    ("usher-rs256", "connect"): ("Usher, Connect", "#5aa1e3"),
    ("hono", "http"): ("Hono, jose, pg", "#e08a2e"),
    ("naive", "grpc"): ("plain Python port", "#8c8c8c"),
    ("postgrest", "http"): ("PostgREST", "#6a4c93"),
    ("echo", "grpc"): ("gRPC echo (ceiling)", "#c9c9c9"),
    ("asyncpg", "none"): ("asyncpg alone (ceiling)", "#dddddd"),
}
WORKS: Final = (
    "issue_es256",
    "issue_rs256",
    "verify",
    "query1",
    "query10",
    "query100",
    "token_query",
    "write",
)
LEFT, RIGHT, WIDTH, BAR, GAP, TOP = 120, 90, 900, 15, 16, 64


def svg(gathered: Gathered) -> str:
    """The picture. Bars are medians, thin lines reach from the lowest to the highest run."""
    groups = []
    for work in WORKS:
        cases = [
            Case(work=work, target=target, protocol=protocol, outstanding=BUSY) for target, protocol in SHOWN
        ]
        found = [case for case in cases if gathered.median(case, "cpu_us") is not None]
        if found:
            groups.append((work, found))
    longest = max((_highest(gathered, case) for _, found in groups for case in found), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / longest
    parts, y = [], TOP
    for work, found in groups:
        middle = y + len(found) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(work)}</text>')
        for case in found:
            parts.append(_bar(gathered, case, y, scale))
            y += BAR
        y += GAP
    title = f"CPU of the server per operation, microseconds, {BUSY} outstanding"
    head = f'<text x="8" y="20" font-size="15">{title}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 8}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{head}\n{_legend(groups)}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(gathered: Gathered, case: Case, y: float, scale: float) -> str:
    value = gathered.median(case, "cpu_us") or 0.0
    runs = [run["cpu_us"] for run in gathered.runs[case] if "cpu_us" in run]
    _, colour = SHOWN[case.target, case.protocol]
    line = y + BAR / 2 - 1
    return (
        f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>'
        f'<path d="M{LEFT + min(runs) * scale:.1f} {line}H{LEFT + max(runs) * scale:.1f}" stroke="black"/>'
        f'<text x="{LEFT + max(runs) * scale + 5:.1f}" y="{y + BAR - 4}" font-size="11">{value:.0f}</text>'
    )


def _highest(gathered: Gathered, case: Case) -> float:
    return max(run["cpu_us"] for run in gathered.runs[case] if "cpu_us" in run)


def _legend(groups: list[tuple[str, list[Case]]]) -> str:
    names = dict(SHOWN[case.target, case.protocol] for _, found in groups for case in found)
    parts, x = [], LEFT
    for name, colour in names.items():
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="43" font-size="11">{escape(name)}</text>')
        x += 26 + len(name) * 6
    return "".join(parts)
