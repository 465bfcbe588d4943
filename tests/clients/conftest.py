"""Says, at the end of a run, which languages' clients were not tested for want of a toolchain."""

from __future__ import annotations

from typing import Any

from tests.clients.runners import LANGUAGES, left_out


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Called by pytest when any test of this folder was among those to run."""
    tested = ", ".join(language.name for language in LANGUAGES if not language.missing)
    terminalreporter.section("clients")
    terminalreporter.line(f"tested: {tested}")
    for line in left_out():
        terminalreporter.line(line)
