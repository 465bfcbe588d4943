"""What `usher query` and `usher transaction` share: limits of a statement, where it stands, and its rows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import usher

from sidecar.cli import remote
from sidecar.cli.render import lines_of, table
from sidecar.core.errors import SettingsError

DEADLINE_SECONDS: Final = 60.0
"""Longer than a statement may run by default, so that it is the server who says what took long."""
MORE_ROWS: Final = "more rows were there; ask for them with --max-rows, or page by key"
_SLACK: Final = 5.0


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds --read-only, --max-rows and --statement-timeout."""
    parser.add_argument("--read-only", action="store_true", help="refuse to write")
    parser.add_argument(
        "--max-rows", type=int, default=0, help="most rows to show of a statement (default: the server's)"
    )
    parser.add_argument(
        "--statement-timeout",
        type=remote.seconds,
        metavar="DURATION",
        help="how long a statement may run in the database (default: the server's)",
    )


def check_limits(chosen: argparse.Namespace, most_rows: int = 2**32 - 1) -> None:
    """Makes the call's deadline longer than its statement's. Raises SettingsError for a wrong --max-rows."""
    if not 0 <= chosen.max_rows <= most_rows:
        raise SettingsError(f"--max-rows: a number from 0 to {most_rows}")
    if chosen.statement_timeout:
        chosen.timeout = max(chosen.timeout, chosen.statement_timeout + _SLACK)


def read_file(path: Path) -> str:
    """The statement in a file. Raises SettingsError."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"--file: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--file: {path} is not UTF-8 text") from None


def show(result: usher.Result, output: str) -> None:
    """Prints the rows as a table with the command tag, as JSON or as CSV."""
    if output == "table":
        if result.columns:
            print(table(result))
        print(result.command_tag)
    else:
        for line in lines_of(result, output, terminal=sys.stdout.isatty()):
            print(line)
