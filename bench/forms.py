"""The section on how Usher runs: which event loop, and how many processes. Everything else is as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from bench import calls
from bench.measuring import Case
from bench.ratios import BUSY
from bench.sections import Bench, turned
from bench.targets import Sidecar, stage

_FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "usher-uvloop": {"event_loop": "uvloop"},
    "usher-asyncio": {"event_loop": "asyncio"},
    "usher-workers2": {"workers": "2"},
}
_WORKS: Final = ("issue_es256", "query10")


async def forms(bench: Bench) -> None:
    """Tokens and ten rows by both protocols."""
    async with stage(bench.meter.world, bench.folder) as on:
        started = await asyncio.gather(
            *(
                bench.start(name, on.sidecar(Sidecar(name=name, settings=settings)))
                for name, settings in _FORMS.items()
            )
        )
        here = [target for target in started if target is not None]
        for number in range(bench.plan.first_round, bench.plan.rounds):
            bench.keep = number >= 0
            bench.say(f"forms, round {number + 1}")
            for target in turned(here, number):
                for work in _WORKS:
                    for protocol in ("grpc", "connect"):
                        case = Case(work=work, target=target.name, protocol=protocol, outstanding=BUSY)
                        await bench.measure(
                            case,
                            target,
                            lambda: calls.calls(target, protocol, work),  # noqa: B023
                        )
