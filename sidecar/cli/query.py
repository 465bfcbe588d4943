"""`usher query` and `usher whoami`: SQL as an end user."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from sidecar.cli import remote, streaming
from sidecar.cli.connecting import client as connect
from sidecar.cli.render import json_text
from sidecar.cli.statements import DEADLINE_SECONDS, MORE_ROWS, add_limits, check_limits, read_file, show
from sidecar.core.errors import SettingsError

_EXAMPLES: Final = """
examples:
  usher query --sub alice --claim tenant_id=acme "select * from users"
  usher query --sub alice 'select * from orders where placed > $1 and id = any($2)' 2024-02-29 '{1,2,3}'
  usher query --sub alice --file report.sql --output csv 2024-02-29 > report.csv
  echo "select 1" | usher query --token "$TOKEN" -
  usher query --sub alice --json @orders_of_customer 7 | jq .total
  usher query --sub alice --stream --output csv "select * from events" > events.csv
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
    add_limits(query)
    query.add_argument(
        "--output",
        choices=("table", "json", "csv"),
        help="how rows are printed: as a table (the default), as one JSON object a row, or as CSV with a "
        "header, in which NULL is nothing and an empty text is quoted",
    )
    remote.add_json(query, "the same as --output json")
    query.add_argument(
        "--stream",
        action="store_true",
        help="print rows as they come, however many there are; for statements that only read, with --output "
        f"json or csv, and a --timeout of {streaming.DEADLINE_SECONDS:g}s unless it is given",
    )
    remote.add_address(query, timeout=DEADLINE_SECONDS)
    query.set_defaults(run=_query, timeout=None)

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
    if chosen.json and chosen.output not in (None, "json"):
        raise SettingsError(f"--json and --output {chosen.output}: give one of them")
    output = "json" if chosen.json else chosen.output or "table"
    if chosen.timeout is None:
        chosen.timeout = streaming.DEADLINE_SECONDS if chosen.stream else DEADLINE_SECONDS
    remote.check_scope(chosen)
    text, parameters = _statement(chosen)
    if chosen.stream:
        return streaming.run(chosen, text, parameters, output)
    check_limits(chosen)
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
    show(result, output)
    if result.truncated:
        print(f"usher: {MORE_ROWS}", file=sys.stderr)
    return 0


def _statement(chosen: argparse.Namespace) -> tuple[str, list[str]]:
    """The statement and its parameters, wherever they stand."""
    if chosen.file is not None:
        first = [] if chosen.sql is None else [chosen.sql]
        return read_file(chosen.file), first + chosen.parameters
    if chosen.sql is None:
        raise SettingsError('say what to run: a statement, "@NAME", "-" for standard input, or --file FILE')
    return remote.standard_input() if chosen.sql == "-" else chosen.sql, chosen.parameters


def _whoami(chosen: argparse.Namespace) -> int:
    remote.check_scope(chosen)
    with connect(chosen) as client:
        seen = remote.scope(chosen, client).who_am_i()
    print(json_text(seen))
    return 0
