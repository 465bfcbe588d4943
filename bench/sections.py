"""The sections that compare CPU: everybody on the same work, and Usher with its guards on and off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import calls, ceilings
from bench.generator import Call
from bench.measuring import Case, Gathered, Meter
from bench.plan import Plan
from bench.ratios import BUSY, Extra
from bench.targets import MissingError, Sidecar, Target, stage
from bench.unguarded import GUARDS

MOST_FAILED = 0.01
"""The largest share of operations that may fail in a run that counts: refusals are cheap."""
T = TypeVar("T")
AUDITED = {"log_level": "debug"}
"""One line of the log for each call and decision."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """What all sections use and fill."""

    plan: Plan
    meter: Meter
    folder: Path
    gathered: Gathered
    extra: Extra
    say: Callable[[str], None]
    postgrest: str = ""
    keep: bool = True
    """Whether what is measured counts, or only warms up."""

    async def start(self, name: str, starting: Awaitable[Target]) -> Target | None:
        """A contestant, or a note of why it is missing."""
        try:
            return await starting
        except MissingError as error:
            self.gathered.missing[name] = str(error)
            return None

    async def measure(self, case: Case, target: Target, make: Callable[[], list[Call]]) -> None:
        """One run of a case, or a note of why it is missing."""
        try:
            made = make()
        except MissingError as error:
            self.gathered.missing[f"{case.work} {case.target} {case.protocol}"] = str(error)
            return
        run, seen = await self.meter.closed(target, made, case.outstanding)
        if not self.keep:
            return
        failed = sum(seen["errors"].values())
        if failed > MOST_FAILED * (failed + seen["done"]) or not run:
            self.gathered.missing[case.name] = (
                f"{failed} calls failed, {seen['done']} did not: {seen['errors']}"
            )
        else:
            self.gathered.add(case, run, seen["errors"])


async def ceiling(bench: Bench) -> None:
    """Signing, asyncpg and pgbench by themselves."""
    plan, world = bench.plan, bench.meter.world
    for number in range(plan.rounds):
        bench.say(f"ceilings, round {number + 1}")
        for name, cost in ceilings.signing(min(plan.seconds, 1.0)).items():
            case = Case(work=f"sign_{name}", target="pyjwt", protocol="none", outstanding=1)
            bench.gathered.add(case, {"cpu_us": cost, "rate": 1e6 / cost}, {})
        for outstanding in plan.outstanding:
            case = Case(work="query10", target="asyncpg", protocol="none", outstanding=outstanding)
            bench.gathered.add(case, await ceilings.bare_process(world, outstanding, plan.seconds), {})
        try:
            rates = ceilings.pgbench(world, bench.folder, plan.seconds)
        except MissingError as error:
            bench.gathered.missing["pgbench"] = str(error)
            continue
        for name, rate in rates.items():
            kind, _, count = name.rpartition(", ")
            case = Case(work="query10", target="pgbench", protocol=kind, outstanding=int(count.split()[0]))
            bench.gathered.add(case, {"rate": rate}, {})


async def table(bench: Bench) -> None:
    """Everybody on the same work."""
    async with stage(bench.meter.world, bench.folder) as on:
        usher, rsa, echo, *peers = await asyncio.gather(
            on.sidecar(Sidecar(name="usher")),
            on.sidecar(Sidecar(name="usher-rs256", settings={"algorithm": "RS256"})),
            on.echo(),
            bench.start("hono", on.hono()),
            bench.start("naive", on.naive()),
            bench.start("postgrest", on.postgrest(bench.postgrest)),
        )
        everybody = [
            (usher, "grpc"),
            (usher, "connect"),
            *((peer, _protocol(peer)) for peer in peers if peer is not None),
        ]
        sizes = {
            work: calls.check(usher, work)
            for work in ("issue_es256", "query10", "query100", "query10000")
            if work in bench.plan.works
        }
        for number in range(bench.plan.first_round, bench.plan.rounds):
            bench.keep = number >= 0
            for work in bench.plan.works:
                bench.say(f"table, round {number + 1}: {work}")
                contestants = [
                    (rsa, protocol) if work == "issue_rs256" and target is usher else (target, protocol)
                    for target, protocol in everybody
                    if work != "jwks" or protocol == "http" or (target is usher and protocol == "grpc")
                ]
                for outstanding in bench.plan.at(work) if bench.keep else (BUSY,):
                    for target, protocol in turned(contestants, number):
                        case = Case(work=work, target=target.name, protocol=protocol, outstanding=outstanding)
                        await bench.measure(
                            case,
                            target,
                            lambda: calls.calls(target, protocol, work),  # noqa: B023
                        )
                    if work in sizes:
                        case = Case(work=work, target="echo", protocol="grpc", outstanding=outstanding)
                        size = _request_bytes(usher, work)
                        await bench.measure(
                            case,
                            echo,
                            lambda: calls.echo(echo, size, sizes[work]),  # noqa: B023
                        )


async def guards(bench: Bench) -> None:
    """A scoped query with every guard, without each of them, and without all; and rows as they once were."""
    names = tuple(name for name in GUARDS if name in bench.plan.guards)
    forms = [
        Sidecar(name="guards-default"),
        Sidecar(name="guards-all", settings=AUDITED),
        *(Sidecar(name=f"off-{name}", off=(name,), settings=AUDITED) for name in names),
        Sidecar(name="off-all", off=tuple(GUARDS), settings=AUDITED),
        Sidecar(name="mtls", certificate=True),
        Sidecar(name="oneof", off=("oneof",)),
    ]
    async with stage(bench.meter.world, bench.folder) as on:
        targets = await asyncio.gather(*(bench.start(form.name, on.sidecar(form)) for form in forms))
        here = [target for target in targets if target is not None]
        for number in range(bench.plan.first_round, bench.plan.rounds):
            bench.keep = number >= 0
            bench.say(f"guards, round {number + 1}")
            for target in turned(here, number):
                works = ["query10"] if target.name != "oneof" else []
                if target.name in ("oneof", "guards-default"):
                    works.append("query100")
                for work in works:
                    case = Case(work=work, target=target.name, protocol="grpc", outstanding=BUSY)
                    await bench.measure(
                        case,
                        target,
                        lambda: calls.calls(target, "grpc", work),  # noqa: B023
                    )


def _protocol(peer: Target) -> str:
    return "grpc" if peer.name == "naive" else "http"


def _request_bytes(usher: Target, work: str) -> int:
    (call,) = calls.calls(usher, "grpc", work)
    return len(call.bodies[0])


def turned(everything: list[T], number: int) -> Iterator[T]:
    """Another one begins in each round, so that nobody always runs behind the same one."""
    start = number % len(everything) if everything else 0
    yield from everything[start:] + everything[:start]
