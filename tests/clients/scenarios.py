"""One file of scenarios, run through every language's client, and what came out compared.

`python -m tests.clients.scenarios` prints the tables of scenarios and of packages; `make clients` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.clients.packages import PACKAGES
from tests.clients.runners import LANGUAGES, Language, Runner, build, left_out
from tests.clients.stages import Stage, reasons
from tests.servers import Servers

FILE: Final = Path(__file__).with_name("scenarios.json")
SHOWN: Final = 12
"""Rows of an answer that are kept as they are; of more only number and sizes, and whether they count up."""
PATIENCE: Final = 30.0
"""Seconds; far more than the waits between two attempts to connect."""


def scenarios() -> list[dict[str, Any]]:
    """The scenarios: each a name and steps of a request and what of its answer must be so."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return found


def run(
    scenario: dict[str, Any], runner: Runner, stage: Stage, protocol: str = "grpc"
) -> tuple[list[Any], str]:
    """Every answer, and the first thing that is not as it must be ("" for none)."""
    answers = []
    for request, wanted in _steps(scenario):
        answer = _shortened(_do(request, runner, stage, protocol))
        answers.append(answer)
        if wanted is not None and (trouble := differs(wanted, answer)):
            return answers, f"{request['do']}: {trouble}"
    return answers, ""


def _steps(scenario: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    for request, wanted in scenario["steps"]:
        if request == "$reasons":
            yield from reasons()
        else:
            yield request, wanted


def _do(request: dict[str, Any], runner: Runner, stage: Stage, protocol: str) -> Any:
    if request["do"] == "wait":
        time.sleep(request["seconds"])
        return None
    if request["do"] == "until":
        return _until(request, runner, stage, protocol)
    if request["do"].startswith("server."):
        return stage.act(request)
    if request["do"] == "connect":
        request = request | {"protocol": protocol}
    return runner.ask(_named(request, stage.names if protocol == "grpc" else stage.connect_names))


def _until(request: dict[str, Any], runner: Runner, stage: Stage, protocol: str) -> Any:
    """Repeats a request until those sidecars answer that are named."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _do(request["request"], runner, stage, protocol)
        answer = stage.act({"do": "server.used"})
        if answer["used"] == request["used"]:
            break
    return answer


def _named(value: Any, names: dict[str, str]) -> Any:
    """The request with the servers' addresses, keys and certificates in place of their names."""
    if isinstance(value, dict):
        if set(value) == {"repeat"}:
            text, count = value["repeat"]
            return {"text": text * count}
        return {key: _named(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _shortened(answer: Any) -> Any:
    if not isinstance(answer, dict) or "rows" not in answer:
        return answer
    rows = answer["rows"]
    answer["row_count"] = len(rows)
    if len(rows) > SHOWN:
        answer["counts_up"] = rows == [[{"int": str(number)}] for number in range(1, len(rows) + 1)]
        answer["rows"] = rows[:SHOWN]
    texts = [[len(cell["text"]) for cell in row if cell and "text" in cell] for row in answer["rows"]]
    if any(size > 1000 for row in texts for size in row):
        answer["rows"], answer["sizes"] = [], texts
    return answer


def differs(wanted: Any, answer: Any, place: str = "") -> str:
    """Where an answer lacks what is wanted, in words; more than that may be in it."""
    if isinstance(wanted, dict) and isinstance(answer, dict):
        if set(wanted) == {"json"} == set(answer):
            same = json.loads(wanted["json"]) == json.loads(answer["json"])
            return "" if same else f"{place} is {answer}, not {wanted}"
        for key, value in wanted.items():
            if key not in answer:
                return f"{place}.{key} is missing in {answer}"
            if trouble := differs(value, answer[key], f"{place}.{key}"):
                return trouble
        return ""
    if isinstance(wanted, list) and isinstance(answer, list) and len(wanted) == len(answer):
        found = (
            differs(one, other, f"{place}[{at}]")
            for at, (one, other) in enumerate(zip(wanted, answer, strict=False))
        )
        return next(filter(None, found), "")
    if isinstance(wanted, str) and wanted.startswith("*") and isinstance(answer, str):
        return "" if wanted[1:] in answer else f"{place} is {answer!r}, without {wanted[1:]!r}"
    return (
        "" if wanted == answer and type(wanted) is type(answer) else f"{place} is {answer!r}, not {wanted!r}"
    )


def main() -> int:
    """Runs all languages whose toolchain is here; prints the tables. 1 when one differs, or CI lacks one."""
    parser = argparse.ArgumentParser(description="Compare the clients of all languages.")
    parser.add_argument("--quick", action="store_true", help="leave out the clients' own tests")
    quick = parser.parse_args().quick
    here = [language for language in LANGUAGES if not language.missing]
    servers = Servers()
    columns: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = {} if quick else {language.name: _tested(language, folder) for language in here}
        with servers.database() as dsn:
            stage = Stage(servers, servers.install_demo(dsn), folder)
            try:
                for language in here:
                    columns[language.name] = _column(language, stage, folder)
            finally:
                stage.close()
        servers.close()
        failed = _print_scenarios(columns)
        _print_packages(here, times, folder)
    print("\n".join(left_out()) or "no language was left out")
    failed = failed or any("FAILED" in time for pair in times.values() for time in pair)
    print("all equal" if not failed else "not all equal")
    return int(failed or (os.environ.get("CI") == "true" and len(here) < len(LANGUAGES)))


def _tested(language: Language, folder: Path) -> tuple[str, str]:
    """How long `make -C clients/LANGUAGE test` takes when nothing is built yet, and when it is."""
    for product in PACKAGES[language.name].products:
        shutil.rmtree(language.folder / product, ignore_errors=True)
    environment = os.environ | {"GOCACHE": str(folder / "gocache")}
    times = []
    for state in ("cold", "warm"):
        print(f"{language.name}: its test, {state}", flush=True)
        started = time.monotonic()
        command = ["make", "-C", str(language.folder), "test"]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout, done.stderr)
        times.append(f"{time.monotonic() - started:.0f} s" if not done.returncode else "FAILED")
    shutil.rmtree(folder / "gocache", ignore_errors=True)
    return times[0], times[1]


def _column(language: Language, stage: Stage, folder: Path) -> dict[str, str]:
    print(f"{language.name}: {len(scenarios())} scenarios", flush=True)
    build(language, folder)
    runner = Runner(language, folder)
    try:
        return {scenario["name"]: run(scenario, runner, stage)[1] for scenario in scenarios()}
    finally:
        runner.close()


def _print_scenarios(columns: dict[str, dict[str, str]]) -> bool:
    """The table of scenarios and languages; whether anything differs."""
    width = max(len(scenario["name"]) for scenario in scenarios())
    print(f"\n{'scenario':{width}}  " + "  ".join(columns))
    for scenario in scenarios():
        name = scenario["name"]
        marks = (f"{'DIFFERS' if column[name] else 'same':{len(at)}}" for at, column in columns.items())
        print(f"{name:{width}}  {'  '.join(marks)}".rstrip())
        for language, column in columns.items():
            if column[name]:
                print(f"    {language}: {column[name]}")
    return any(trouble for column in columns.values() for trouble in column.values())


def _print_packages(here: list[Language], times: dict[str, tuple[str, str]], folder: Path) -> None:
    """The table of what is published: hand-written lines, size, and how long its own test takes."""
    print(f"\n{'client':10}  {'lines':>5}  {'code':>5}  {'package':>8}  {'cold':>6}  {'warm':>6}")
    for language in here:
        package = PACKAGES[language.name]
        out = folder / "packages" / language.name
        out.mkdir(parents=True)
        every, code = package.lines(language.name)
        size = f"{package.pack(out).stat().st_size / 1024:.0f} KiB"
        cold, warm = times.get(language.name, ("-", "-"))
        print(f"{language.name:10}  {every:5}  {code:5}  {size:>8}  {cold:>6}  {warm:>6}")
    print("lines: all that people wrote, and without comments; cold, warm: `make -C clients/CLIENT test`\n")


if __name__ == "__main__":
    sys.exit(main())
