"""One arena for each version of PostgreSQL, and the table in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import arena as arenas
from tests.attacks import table
from tests.attacks.arena import Arena
from tests.attacks.corpus import attacks
from tests.servers import VERSIONS, Servers

FALLEN = pytest.StashKey[dict[str, dict[str, dict[str, bool]]]]()
PLACES = [(version, False) for version in VERSIONS] + [(VERSIONS[-1], True)]
"""Versions of PostgreSQL, and whether pg_session_jwt takes the place of signed claims."""


@pytest.fixture(scope="session", params=PLACES, ids=lambda place: f"pg{place[0]}{'jwt' * place[1]}")
def arena(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[Arena]:
    """The arena in one place; its results are kept for the table."""
    version, by_token = request.param
    with arenas.arena(version, postgres_servers, by_token=by_token) as there:
        request.config.stash.setdefault(FALLEN, {})[f"{version}{'jwt' * by_token}"] = there.fallen
        yield there


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    fallen = {label: found for label, found in config.stash.get(FALLEN, {}).items() if found}
    if not fallen:
        return
    alone = all(Path(argument.split("::")[0]).name == "attacks" for argument in config.args)
    terminalreporter.section("attacks")
    for line in (table.lines if alone else table.totals)(attacks(), fallen):
        terminalreporter.write_line(line)
