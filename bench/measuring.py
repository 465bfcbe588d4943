"""One measurement: a load, and what the servers' processes spent meanwhile; and many of them, gathered."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.generator import Call, Load, drive
from bench.targets import Target
from bench.world import World, cores

FIGURES: Final = ("cpu_us", "pg_us", "rate", "p50_ms", "p99_ms", "peak_mib", "generator_us", "headroom")
"""cpu_us: CPU of the server's own processes for one operation. pg_us: of Postgres. rate: operations a second.
peak_mib: most resident memory. generator_us: CPU of the load generator for one operation. headroom: how many
times as many operations the generator could have sent with one core alone."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Case:
    """What is measured."""

    work: str
    target: str
    protocol: str
    outstanding: int

    @property
    def name(self) -> str:
        """In one text, as results.json has it."""
        return f"{self.work} {self.target} {self.protocol} {self.outstanding}"


@dataclass(slots=True)
class Gathered:
    """All runs of all cases, and what could not be measured."""

    runs: dict[Case, list[dict[str, float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What has no figure, and why."""
    errors: dict[str, dict[str, int]] = field(default_factory=dict)
    """Calls that failed, by case and code: a case that has any is not to be trusted."""

    def add(self, case: Case, run: Mapping[str, float], errors: Mapping[str, int]) -> None:
        """One run of a case."""
        self.runs.setdefault(case, []).append(dict(run))
        for code, count in errors.items():
            by_code = self.errors.setdefault(case.name, {})
            by_code[code] = by_code.get(code, 0) + count

    def median(self, case: Case, figure: str) -> float | None:
        """The middle of all runs; None without any."""
        found = [run[figure] for run in self.runs.get(case, []) if figure in run]
        return statistics.median(found) if found else None

    def spread(self, case: Case, figure: str) -> float:
        """Half of what lies between the lowest and the highest run, as a share of the median."""
        found = [run[figure] for run in self.runs.get(case, []) if figure in run]
        middle = statistics.median(found) if found else 0.0
        return (max(found) - min(found)) / 2 / middle if middle else 0.0


class Meter:
    """Measures in one world with one generator."""

    def __init__(self, world: World, program: Path, seconds: float, warm: float) -> None:
        self.world = world
        self.program = program
        self.seconds = seconds
        self.warm = warm

    async def seen(self, targets: Sequence[Target], load: Load) -> tuple[dict[str, float], Any]:
        """The figures of one run, and all that the generator saw."""
        servers: list[int] = []
        database: list[int] = []
        looks: list[tuple[dict[int, machine.Cpu], dict[int, machine.Cpu]]] = []

        def note() -> None:
            if not looks:  # connections to the database are opened under load
                servers.extend(pid for target in targets for pid in target.pids())
                database.extend(self.world.pids())
                machine.forget_peak(servers)
            looks.append((machine.look(servers), machine.look(database)))

        seen = await drive(self.program, load, note, note)
        done = seen["done"]
        if not done:
            return {}, seen
        ours, theirs = (machine.spent(looks[0][side], looks[1][side]) for side in (0, 1))
        each = seen["cpu_seconds"] / done
        return {
            "cpu_us": ours / done * 1e6,
            "pg_us": theirs / done * 1e6,
            "rate": done / seen["seconds"],
            "p50_ms": seen["times"]["p50"],
            "p99_ms": seen["times"]["p99"],
            "peak_mib": machine.peak(servers),
            "generator_us": each * 1e6,
            "headroom": seen["seconds"] / (each * done) if each else float(cores()),
        }, seen

    async def closed(
        self, target: Target, calls: Sequence[Call], outstanding: int
    ) -> tuple[dict[str, float], Any]:
        """With so many operations under way at any time."""
        load = Load(
            calls=calls, outstanding=outstanding, seconds=self.seconds, warm=self.warm, tls=target.tls
        )
        return await self.seen([target], load)
