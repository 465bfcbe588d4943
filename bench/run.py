"""The bench: `make bench` runs it, and bench/README.md says how to read it."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import forms, generator, hardship, machine, plot, report, sections
from bench.measuring import Gathered, Meter
from bench.plan import PLANS, SECTIONS, Plan
from bench.sections import Bench
from bench.world import standing

HERE: Final = Path(__file__).parent
_SECTIONS: Final[dict[str, Callable[[Bench], Awaitable[None]]]] = {
    "ceilings": sections.ceiling,
    "table": sections.table,
    "guards": sections.guards,
    "forms": forms.forms,
    "distance": hardship.distance,
    "saturation": hardship.saturation,
    "stream": hardship.stream,
}


async def measure(plan: Plan, wanted: Sequence[str], postgrest: str, say: Callable[[str], None]) -> Bench:
    """Measures the wanted sections. SIGTERM ends it as Ctrl-C does, with all that it started."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    with tempfile.TemporaryDirectory(prefix="usher-bench-") as name:
        folder = Path(name)
        program = await asyncio.to_thread(generator.build, folder)
        say("filling the databases")
        async with standing() as world:
            bench = Bench(
                plan=plan,
                meter=Meter(world, program, plan.seconds, plan.warm),
                folder=folder,
                gathered=Gathered(),
                extra={},
                say=say,
                postgrest=postgrest,
            )
            for section in SECTIONS:
                if section in wanted:
                    await _SECTIONS[section](bench)
                else:
                    bench.gathered.missing[f"section {section}"] = "it was not asked for"
    return bench


def main(arguments: Sequence[str]) -> int:
    """Measures, prints, and writes the files."""
    chosen = _parser().parse_args(arguments)
    plan = PLANS[chosen.plan]
    about, started = machine.describe(), time.monotonic()

    def say(text: str) -> None:
        print(f"bench: {time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    bench = asyncio.run(measure(plan, chosen.only or SECTIONS, chosen.postgrest, say))
    command = " ".join(["make bench", *([f"ARGS='{' '.join(arguments)}'"] if arguments else [])])
    took = time.monotonic() - started
    found: dict[str, Any] = report.document(bench.gathered, bench.extra, about, command, took)
    out = Path(chosen.out)
    before = report.earlier(out / "results.json")
    print(report.table(bench.gathered))
    print()
    print(report.promises(found, before))
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (out / "results.svg").write_text(plot.svg(bench.gathered))
    say(f"wrote {out}/results.json and results.svg")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    plans = parser.add_mutually_exclusive_group()
    for name, help in (
        ("quick", "one short round: plausible, not exact"),
        ("promises", "five rounds of what the promised figures need"),
    ):
        plans.add_argument(f"--{name}", action="store_const", const=name, dest="plan", help=help)
    plans.add_argument("--plan", choices=tuple(PLANS))
    parser.set_defaults(plan="full")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections alone")
    parser.add_argument("--postgrest", default="", metavar="PATH", help="a PostgREST binary to compare with")
    parser.add_argument("--out", default=str(HERE), metavar="FOLDER", help="where results.* are written")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
