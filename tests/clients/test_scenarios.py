"""Every language's client does what clients/CONTRACT.md says, and all do the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runners import LANGUAGES, Language, Runner, build
from tests.clients.scenarios import differs, run, scenarios
from tests.clients.stages import Stage
from tests.clients.test_smoke import toolchain
from tests.servers import Servers


@pytest.fixture(scope="module")
def stage(postgres_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with postgres_servers.database() as dsn:
        stage = Stage(postgres_servers, postgres_servers.install_demo(dsn), tmp_path_factory.mktemp("stage"))
        yield stage
        stage.close()


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_client(language: Language, stage: Stage, tmp_path: Path) -> None:
    assert troubles(language, scenarios(), stage, tmp_path, protocol="grpc") == {}


@pytest.mark.parametrize("name", ["go", "typescript"])
def test_client_by_connect(name: str, stage: Stage, tmp_path: Path) -> None:
    """All but what has no Connect: the admin address, the servers that refuse as asked, gRPC's limit."""
    others = ("$admin", "$refusing", "$flaky", "the transport's limit")
    asked = [each for each in scenarios() if not any(text in json.dumps(each) for text in others)]
    assert len(asked) > 100
    (language,) = (language for language in LANGUAGES if language.name == name)
    assert troubles(language, asked, stage, tmp_path, protocol="connect") == {}


def troubles(
    language: Language, asked: list[dict[str, Any]], stage: Stage, out: Path, protocol: str
) -> dict[str, str]:
    """What differs, by scenario."""
    for program in language.needs:
        toolchain(program)
    build(language, out)
    runner = Runner(language, out)
    try:
        found = {scenario["name"]: run(scenario, runner, stage, protocol)[1] for scenario in asked}
    finally:
        runner.close()
    return {name: trouble for name, trouble in found.items() if trouble}


def test_there_are_enough_and_each_has_its_own_name() -> None:
    names = [scenario["name"] for scenario in scenarios()]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ([1], [1, 2]),
        ({"json": "[1]"}, {"json": "[2]"}),
        ("*DEADLINE", "STATEMENT_TIMEOUT"),
        (None, {"int": "1"}),
    ],
)
def test_a_difference_is_seen(wanted: Any, answer: Any) -> None:
    assert differs(wanted, answer)


def test_more_than_is_wanted_is_no_difference() -> None:
    assert differs({"rows": [[{"json": '{"a":1}'}]]}, {"rows": [[{"json": '{"a": 1}'}]], "more": 1}) == ""
