"""One file of scenarios, run through every language's client, and what came out compared.

`python -m tests.clients.scenarios` prints the table of scenarios and languages; `make clients` calls it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.clients.runners import LANGUAGES, Language, Runner, build
from tests.clients.stages import Stage, reasons
from tests.servers import Servers

FILE: Final = Path(__file__).with_name("scenarios.json")
SHOWN: Final = 12
"""Rows of an answer that are kept as they are; of more only their number and sizes."""


def scenarios() -> list[dict[str, Any]]:
    """The scenarios: each a name and steps of a request and what of its answer must be so."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return found


def run(scenario: dict[str, Any], runner: Runner, stage: Stage) -> tuple[list[Any], str]:
    """Every answer, and the first thing that is not as it must be ("" for none)."""
    answers = []
    for request, wanted in _steps(scenario):
        answer = _shortened(_do(request, runner, stage))
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


def _do(request: dict[str, Any], runner: Runner, stage: Stage) -> Any:
    if request["do"] == "wait":
        time.sleep(request["seconds"])
        return None
    if request["do"].startswith("server."):
        return stage.act(request)
    return runner.ask(_named(request, stage.names))


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
    """Runs all languages whose toolchain is here; prints the table. 1 when one differs."""
    servers = Servers()
    failed = False
    with tempfile.TemporaryDirectory() as folder, servers.database() as dsn:
        stage = Stage(servers, servers.install_demo(dsn), Path(folder))
        columns: dict[str, dict[str, str]] = {}
        times: dict[str, tuple[float, float]] = {}
        try:
            for language in LANGUAGES:
                if language.missing:
                    print(f"left out: {language.name}, for {language.missing} is not here")
                    continue
                columns[language.name], times[language.name] = _column(language, stage, Path(folder))
        finally:
            stage.close()
    servers.close()
    width = max(len(scenario["name"]) for scenario in scenarios())
    print(f"{'scenario':{width}}  " + "  ".join(columns))
    for scenario in scenarios():
        name = scenario["name"]
        marks = {language: "same" if not column[name] else "DIFFERS" for language, column in columns.items()}
        print(f"{name:{width}}  " + "  ".join(f"{marks[language]:{len(language)}}" for language in columns))
        for language, column in columns.items():
            if column[name]:
                failed = True
                print(f"    {language}: {column[name]}")
    for language, (built, ran) in times.items():
        print(f"{language}: built in {built:.1f} s, {len(scenarios())} scenarios in {ran:.1f} s")
    print("all equal" if not failed else "not all equal")
    return int(failed)


def _column(language: Language, stage: Stage, folder: Path) -> tuple[dict[str, str], tuple[float, float]]:
    started = time.monotonic()
    build(language, folder)
    built = time.monotonic()
    runner = Runner(language, folder)
    try:
        column = {scenario["name"]: run(scenario, runner, stage)[1] for scenario in scenarios()}
    finally:
        runner.close()
    return column, (built - started, time.monotonic() - built)


if __name__ == "__main__":
    sys.exit(main())
