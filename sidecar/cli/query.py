"""`usher query` and `usher whoami`: SQL as an end user."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import usher

from sidecar.cli import remote
from sidecar.cli.connecting import client as connect
from sidecar.cli.render import csv_lines, json_text, names_of, printable, rows_of, table
from sidecar.core.errors import SettingsError

DEADLINE_SECONDS: Final = 60.0
"""Longer than a statement may run by default, so that it is the server who says what took long."""
_SLACK: Final = 5.0

_EXAMPLES: Final = """
examples:
  usher query --sub alice --claim tenant_id=acme "select * from users"
  usher query --sub alice "select * from orders where placed > $1 and id = any($2)" 2024-02-29 '{1,2,3}'
  usher query --sub alice --file report.sql --output csv 2024-02-29 > report.csv
  echo "select 1" | usher query --token "$TOKEN" -
  usher query --sub alice --json @orders_of_customer 7 | jq .total
"""


def add_to(verbs: Any) -> None:
    """Adds the verbs."""
    query = verbs.add_parser(
        "query",
        help="run one SQL statement as an end user",
        description="Runs one SQL statement as an end user, in a transaction of its own.",
        epilog=_EXAMPLES,
    )
    query.add_argument(
        "sql",
        nargs="?",
        help='the statement, "@NAME" for a named one, or "-" to read it from standard input; with --file '
        "the first parameter stands here",
    )
    query.add_argument(
        "parameters", nargs="*", help="values of $1, $2, ... in text form, as Postgres reads them"
    )
    query.add_argument("--file", type=Path, metavar="FILE", help="read the statement from FILE")
    remote.add_scope(query)
    query.add_argument("--read-only", action="store_true", help="refuse to write")
    query.add_argument("--max-rows", type=int, default=0, help="most rows to show (default: the server's)")
    query.add_argument(
        "--statement-timeout",
        type=remote.seconds,
        metavar="DURATION",
        help="how long the statement may run in the database (default: the server's)",
    )
    query.add_argument(
        "--output",
        choices=("table", "json", "csv"),
        help="how rows are printed: as a table (the default), as one JSON object a row, or as CSV with a "
        "header, in which NULL is nothing and an empty text is quoted",
    )
    remote.add_json(query, "the same as --output json")
    remote.add_address(query, timeout=DEADLINE_SECONDS)
    query.set_defaults(run=_query)

    whoami = verbs.add_parser(
        "whoami",
        help="show what Postgres itself sees in a scope",
        description="Shows, as JSON, what Postgres itself sees in a scope: the first thing to do when rows "
        "are missing.",
        epilog="\nexample:\n  usher whoami --sub alice --claim tenant_id=acme\n",
    )
    remote.add_scope(whoami)
    remote.add_json(whoami, "make refusals JSON, too: the answer always is")
    remote.add_address(whoami)
    whoami.set_defaults(run=_whoami)


def _query(chosen: argparse.Namespace) -> int:
    if not 0 <= chosen.max_rows < 2**32:
        raise SettingsError("--max-rows: a number from 0 to 4294967295")
    if chosen.json and chosen.output not in (None, "json"):
        raise SettingsError(f"--json and --output {chosen.output}: give one of them")
    remote.check_scope(chosen)
    text, parameters = _statement(chosen)
    if chosen.statement_timeout:
        chosen.timeout = max(chosen.timeout, chosen.statement_timeout + _SLACK)
    with connect(chosen) as client:
        scope = remote.scope(chosen, client)
        # No SQL statement begins with this sign.
        run = scope.run if text.startswith("@") else scope.query
        result = run(
            text.removeprefix("@"),
            *parameters,
            read_only=chosen.read_only,
            max_rows=chosen.max_rows,
            statement_timeout=chosen.statement_timeout,
        )
    _print(result, "json" if chosen.json else chosen.output or "table")
    if result.truncated:
        print("usher: more rows were there; ask for them with --max-rows, or page by key", file=sys.stderr)
    return 0


def _statement(chosen: argparse.Namespace) -> tuple[str, list[str]]:
    """The statement and its parameters, wherever they stand."""
    if chosen.file is not None:
        first = [] if chosen.sql is None else [chosen.sql]
        return _read(chosen.file), first + chosen.parameters
    if chosen.sql is None:
        raise SettingsError('say what to run: a statement, "@NAME", "-" for standard input, or --file FILE')
    return remote.standard_input() if chosen.sql == "-" else chosen.sql, chosen.parameters


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"--file: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--file: {path} is not UTF-8 text") from None


def _print(result: usher.Result, output: str) -> None:
    if output == "json":
        names = names_of(result)
        for row in rows_of(result):
            print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
    elif output == "csv":
        # To a terminal as in a table: what values hold must not steer it. Elsewhere exactly.
        shown = printable if sys.stdout.isatty() else str
        for line in csv_lines(result) if result.columns else ():
            print(shown(line))
    else:
        if result.columns:
            print(table(result))
        print(result.command_tag)


def _whoami(chosen: argparse.Namespace) -> int:
    remote.check_scope(chosen)
    with connect(chosen) as client:
        seen = remote.scope(chosen, client).who_am_i()
    print(json_text(seen))
    return 0
