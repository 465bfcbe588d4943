"""`usher query --stream`: rows as they come, however many there are."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.cli import remote
from sidecar.cli.connecting import client as connect
from sidecar.cli.progress import waiting
from sidecar.cli.render import lines_of
from sidecar.cli.statements import MORE_ROWS, check_limits
from sidecar.core.errors import SettingsError

DEADLINE_SECONDS: Final = 600.0
"""As long as the server lets a stream take, unless that was changed (`max_stream_deadline`)."""


@dataclass(slots=True)
class _Progress:
    """What is shown while nothing else is."""

    address: str
    lines: int = 0

    def __str__(self) -> str:
        return f"{self.lines} lines so far" if self.lines else f"waiting for {self.address}"


def run(chosen: argparse.Namespace, text: str, parameters: Sequence[str], output: str) -> int:
    """Streams the statement. Raises SettingsError for options that do not go with it."""
    if output == "table":
        raise SettingsError(
            "--stream: a table is as wide as its widest row, which may come last; give --output csv or json"
        )
    check_limits(chosen, most_rows=2**63 - 1)
    terminal = sys.stdout.isatty()
    progress = _Progress(chosen.address)
    with contextlib.ExitStack() as shown, connect(chosen, shows=False) as client:
        shown.enter_context(waiting(progress))
        scope = remote.scope(chosen, client)
        begin = scope.stream_statement if text.startswith("@") else scope.stream
        with begin(
            text.removeprefix("@"),
            *parameters,
            max_rows=chosen.max_rows,
            statement_timeout=chosen.statement_timeout,
            timeout=chosen.timeout,
        ) as stream:
            for line in lines_of(stream, output, terminal=terminal):
                if terminal:
                    shown.close()  # the rows show how it goes, and would share a line with it
                print(line, flush=True)
                progress.lines += 1
    assert stream.summary is not None
    more = f"; {MORE_ROWS}" if stream.summary.truncated else ""
    print(f"usher: {stream.summary.command_tag}{more}", file=sys.stderr)
    return 0
