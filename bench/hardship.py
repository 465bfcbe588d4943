"""The sections that ask what holds when it gets hard: a far database, too much load, long results."""

from __future__ import annotations

import asyncio
from typing import Any

from bench import calls, ceilings, machine
from bench.generator import Load
from bench.measuring import Case
from bench.ratios import BUSY
from bench.sections import Bench
from bench.targets import MissingError, Sidecar, stage

OVERLOAD = 3.0
NEAR_SATURATION = 0.8
DEADLINE_SECONDS = 1.0
"""Of calls under overload: an answer that comes later is none."""
MOST_UNDER_WAY = 20_000
STREAM_BYTES = 20_000_000
"""A million rows are more than this; fewer bytes are no measurement."""


async def distance(bench: Bench) -> None:
    """The works that ask the database, with one that is milliseconds away."""
    world, plan = bench.meter.world, bench.plan
    async with stage(world, bench.folder) as on:
        ports = {away: await on.distance(away / 1000) for away in plan.distances}
        everybody = []
        for away, port in ports.items():
            form = Sidecar(name=f"usher-{away}ms", database_port=port)
            started = await asyncio.gather(
                bench.start(form.name, on.sidecar(form)),
                bench.start("hono", on.hono(port)),
                bench.start("naive", on.naive(port)),
            )
            usher, hono, naive = started
            everybody += [
                (away, protocol, target)
                for protocol, target in (("grpc", usher), ("connect", usher), ("http", hono), ("grpc", naive))
                if target is not None
            ]
        for number in range(plan.rounds):
            for work in plan.far:
                bench.say(f"distance, round {number + 1}: {work}")
                for away, protocol, target in everybody:
                    for outstanding in (1, BUSY):
                        case = Case(
                            work=f"{work}_at_{away}ms",
                            target=target.name.partition("-")[0],
                            protocol=protocol,
                            outstanding=outstanding,
                        )
                        await bench.measure(
                            case,
                            target,
                            lambda: calls.calls(target, protocol, work),  # noqa: B023
                        )
            for away, port in ports.items():
                case = Case(work=f"query10_at_{away}ms", target="asyncpg", protocol="none", outstanding=1)
                bench.gathered.add(case, await ceilings.bare_process(world, 1, plan.seconds, port), {})
    _trips(bench)


def _trips(bench: Bench) -> None:
    """Round trips show in how the median grows with the distance."""
    near, far = min(bench.plan.distances), max(bench.plan.distances)

    def median(target: str, protocol: str, away: int) -> float | None:
        case = Case(work=f"query10_at_{away}ms", target=target, protocol=protocol, outstanding=1)
        return bench.gathered.median(case, "p50_ms")

    for target, protocol in (("usher", "grpc"), ("hono", "http"), ("naive", "grpc"), ("asyncpg", "none")):
        first, last = median(target, protocol, near), median(target, protocol, far)
        if first is not None and last is not None:
            bench.extra[f"round_trips_{target}"] = (last - first) / (2 * (far - near))
    ours, bare = median("usher", "grpc", 5), median("asyncpg", "none", 5)
    if ours is not None and bare is not None:
        bench.extra["added_ms_at_5ms"] = ours - bare
    if {"round_trips_usher", "round_trips_asyncpg"} <= bench.extra.keys():
        more = bench.extra["round_trips_usher"] - bench.extra["round_trips_asyncpg"]
        bench.extra["extra_round_trips"] = more


async def saturation(bench: Bench) -> None:
    """Four fifths of what it can serve, and three times as much, by calls that come when they are due."""
    found: dict[str, list[float]] = {}
    async with stage(bench.meter.world, bench.folder) as on:
        usher = await on.sidecar(Sidecar(name="usher"))
        sent = calls.calls(usher, "grpc", "query10")
        for number in range(bench.plan.rounds):
            bench.say(f"saturation, round {number + 1}")
            peak, seen = await bench.meter.closed(usher, sent, 64)
            if not peak:
                bench.gathered.missing["saturation"] = f"no operation succeeded: {seen['errors']}"
                continue
            steady = Load(
                calls=sent,
                outstanding=MOST_UNDER_WAY,
                rate=peak["rate"] * NEAR_SATURATION,
                seconds=bench.meter.seconds * 2,
                warm=bench.meter.warm,
            )
            run, seen = await bench.meter.seen([usher], steady)
            found.setdefault("peak_rate", []).append(peak["rate"])
            if run:
                found.setdefault("p99_over_p50_at_80pct", []).append(run["p99_ms"] / run["p50_ms"])
                found.setdefault("generator_late_p99_ms_at_80pct", []).append(seen["late"].get("p99", 0.0))
            flood = Load(
                calls=sent,
                outstanding=MOST_UNDER_WAY,
                rate=peak["rate"] * OVERLOAD,
                seconds=bench.meter.seconds * 2,
                warm=max(bench.meter.warm, DEADLINE_SECONDS),
                deadline=DEADLINE_SECONDS,
            )
            _, seen = await bench.meter.seen([usher], flood)
            for name, value in _of_flood(seen, peak["rate"]).items():
                found.setdefault(name, []).append(value)
    for name, values in found.items():
        bench.extra[name] = sorted(values)[len(values) // 2]


def _of_flood(seen: Any, peak: float) -> dict[str, float]:
    errors = seen["errors"]
    failed = sum(errors.values())
    found = {"overload_goodput": seen["done"] / seen["seconds"] / peak}
    if failed:
        found["overload_refusal_p99_ms"] = seen["error_times"]["p99"]
        found["overload_other_errors"] = 1 - errors.get("ResourceExhausted", 0) / failed
    return found


async def stream(bench: Bench) -> None:
    """A million rows: how much memory grows by."""
    async with stage(bench.meter.world, bench.folder) as on:
        usher = await on.sidecar(Sidecar(name="usher"))
        try:
            sent = calls.calls(usher, "grpc", "stream")
        except MissingError as error:
            bench.gathered.missing["stream_1m_memory_mib"] = str(error)
            return
        bench.say("stream")
        await bench.meter.closed(usher, calls.calls(usher, "grpc", "query10"), 8)
        before = machine.resident(usher.pids())
        seconds = bench.plan.stream_seconds
        load = Load(calls=sent, outstanding=1, seconds=seconds, warm=0.0, least=1, deadline=seconds)
        run, seen = await bench.meter.seen([usher], load)
        if seen["done"] and seen["bytes"] / seen["done"] > STREAM_BYTES:
            bench.extra["stream_1m_memory_mib"] = run["peak_mib"] - before
            bench.extra["stream_1m_seconds"] = seen["times"]["p50"] / 1000
        else:
            why = f"no stream came to its end: {seen['errors']}, {seen['bytes']} bytes"
            bench.gathered.missing["stream_1m_memory_mib"] = why
