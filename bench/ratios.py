"""The figures that are promised: how each is made of medians, and its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.measuring import Case, Gathered

BUSY: Final = 32
"""Outstanding operations at which CPU is compared."""

Extra = dict[str, float]
"""Figures that are no case: those of ceilings, distance, saturation and streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One figure."""

    name: str
    what: str
    target: float
    at_least: bool = False
    """Whether more is better."""
    of: Callable[[Gathered, Extra], float | None]

    def met(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return value >= self.target if self.at_least else value <= self.target


def _cpu(gathered: Gathered, work: str, target: str, protocol: str) -> float | None:
    case = Case(work=work, target=target, protocol=protocol, outstanding=BUSY)
    return gathered.median(case, "cpu_us")


def _over(
    work: str, one: tuple[str, str], other: tuple[str, str], other_work: str = ""
) -> Callable[[Gathered, Extra], float | None]:
    def value(gathered: Gathered, extra: Extra) -> float | None:
        above, below = _cpu(gathered, work, *one), _cpu(gathered, other_work or work, *other)
        return above / below if above and below else None

    return value


def _extra(name: str) -> Callable[[Gathered, Extra], float | None]:
    return lambda gathered, extra: extra.get(name)


GRPC, CONNECT, HONO, NAIVE = ("usher", "grpc"), ("usher", "connect"), ("hono", "http"), ("naive", "grpc")
ECHO = ("echo", "grpc")

RATIOS: Final = (
    Ratio(
        name="query10_connect_vs_hono",
        what="scoped query, 10 rows, Connect: CPU / Hono stack",
        target=0.6,
        of=_over("query10", CONNECT, HONO),
    ),
    Ratio(
        name="query10_grpc_vs_hono",
        what="scoped query, 10 rows, gRPC: CPU / Hono stack",
        target=1.15,
        of=_over("query10", GRPC, HONO),
    ),
    Ratio(
        name="issue_es256_connect_vs_hono",
        what="IssueToken ES256, Connect: CPU / Hono stack",
        target=0.9,
        of=_over("issue_es256", CONNECT, HONO),
    ),
    Ratio(
        name="issue_es256_grpc_vs_echo",
        what="IssueToken ES256, gRPC: CPU / grpc.aio echo",
        target=1.2,
        of=_over("issue_es256", GRPC, ECHO),
    ),
    Ratio(
        name="added_ms_at_5ms",
        what="scoped query at 5 ms each way: ms more than bare asyncpg",
        target=1.0,
        of=_extra("added_ms_at_5ms"),
    ),
    Ratio(
        name="extra_round_trips",
        what="scoped query: round trips more than bare asyncpg",
        target=0.1,
        of=_extra("extra_round_trips"),
    ),
    Ratio(
        name="rows100_vs_oneof",
        what="100-row query: CPU / a message a cell",
        target=0.35,
        of=_over("query100", ("guards-default", "grpc"), ("oneof", "grpc")),
    ),
    Ratio(
        name="stream_1m_memory_mib",
        what="1,000,000 rows streamed: peak memory growth, MiB",
        target=32.0,
        of=_extra("stream_1m_memory_mib"),
    ),
    Ratio(
        name="guards_on_vs_off",
        what="all guards on / off: CPU of a scoped query",
        target=1.25,
        of=_over("query10", ("guards-all", "grpc"), ("off-all", "grpc")),
    ),
    Ratio(
        name="p99_over_p50_at_80pct",
        what="p99 / p50 at 80 % of saturation",
        target=4.0,
        of=_extra("p99_over_p50_at_80pct"),
    ),
    Ratio(
        name="overload_goodput",
        what="overload 3x: goodput / peak goodput",
        target=0.9,
        at_least=True,
        of=_extra("overload_goodput"),
    ),
    Ratio(
        name="overload_refusal_p99_ms",
        what="overload 3x: ms until RESOURCE_EXHAUSTED, p99",
        target=10.0,
        of=_extra("overload_refusal_p99_ms"),
    ),
)

INFORMATIVE: Final[dict[str, Callable[[Gathered, Extra], float | None]]] = {
    "query10_grpc_vs_naive": _over("query10", GRPC, NAIVE),
    "query100_grpc_vs_hono": _over("query100", GRPC, HONO),
    "query100_grpc_vs_naive": _over("query100", GRPC, NAIVE),
    "query10000_grpc_vs_hono": _over("query10000", GRPC, HONO),
    "issue_es256_grpc_vs_hono": _over("issue_es256", GRPC, HONO),
    "issue_rs256_grpc_vs_hono": _over("issue_rs256", ("usher-rs256", "grpc"), HONO),
    "write_grpc_vs_hono": _over("write", GRPC, HONO),
    "token_query_grpc_vs_hono": _over("token_query", GRPC, HONO),
    "verify_grpc_vs_hono": _over("verify", GRPC, HONO),
    "guards_default_vs_off": _over("query10", ("guards-default", "grpc"), ("off-all", "grpc")),
    "mtls_vs_key": _over("query10", ("mtls", "grpc"), ("guards-default", "grpc")),
    "query10_grpc_vs_echo": _over("query10", GRPC, ECHO),
}
"""Without a target, for the next run to compare with."""
