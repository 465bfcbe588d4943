"""The table of the scenarios, at the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.neon import table
from tests.neon.table import Row

ROWS = pytest.StashKey[dict[str, Row]]()

Record = Callable[[Row], None]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Puts a row into the table; a scenario that ran more than once has one row with the sums."""
    rows = request.config.stash.setdefault(ROWS, {})

    def add(row: Row) -> None:
        known = rows.get(row.scenario)
        rows[row.scenario] = row if known is None else known + row

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash.get(ROWS, {}):
        terminalreporter.section("tokens refused by the double of Neon's verifier")
        for line in table.lines(list(rows.values())):
            terminalreporter.write_line(line)
