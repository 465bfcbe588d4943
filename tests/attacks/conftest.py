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

FALLEN = pytest.StashKey[dict[int, dict[str, dict[str, bool]]]]()


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"pg{version}")
def arena(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[Arena]:
    """The arena on one version; its results are kept for the table."""
    with arenas.arena(request.param, postgres_servers) as there:
        request.config.stash.setdefault(FALLEN, {})[request.param] = there.fallen
        yield there


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    fallen = {version: found for version, found in config.stash.get(FALLEN, {}).items() if found}
    if not fallen:
        return
    alone = all(Path(argument.split("::")[0]).name == "attacks" for argument in config.args)
    terminalreporter.section("attacks")
    for line in (table.lines if alone else table.totals)(attacks(), fallen):
        terminalreporter.write_line(line)
