"""`usher transaction`: several statements as an end user, all of them or none."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import usher

from sidecar.cli import remote
from sidecar.cli.connecting import client as connect
from sidecar.cli.render import objects_of
from sidecar.cli.statements import DEADLINE_SECONDS, MORE_ROWS, add_limits, check_limits, read_file, show
from sidecar.core.errors import SettingsError

_ISOLATION: Final[dict[str, usher.Isolation]] = {
    "read-committed": "read committed",
    "repeatable-read": "repeatable read",
    "serializable": "serializable",
}
_EXAMPLES: Final = """
examples:
  usher transaction --sub alice --sql "update users set name = 'Alice A.'" --sql "select * from users"
  usher transaction --sub alice --isolation serializable \\
    --sql 'update accounts set amount = amount - $1 where id = $2' --param 5 --param a \\
    --sql 'update accounts set amount = amount + $1 where id = $2' --param 5 --param b
  usher transaction --sub alice --json --file first.sql --sql @second --param 7 | jq .command_tag
"""


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "transaction",
        help="run several SQL statements as an end user, all of them or none",
        description="Runs SQL statements as an end user, one after the other in one transaction: all of "
        "them, or none.",
        epilog=_EXAMPLES,
    )
    for option, metavar, help in (
        ("--sql", "SQL", 'a statement, or "@NAME" for a named one; again for each further one'),
        ("--file", "FILE", "read a statement from FILE"),
        ("--param", "VALUE", "a parameter of the statement before it, in text form; again for the next one"),
    ):
        parser.add_argument(
            option,
            dest="parts",
            action="append",
            type=functools.partial(_part, option),
            default=[],
            metavar=metavar,
            help=help,
        )
    remote.add_scope(parser)
    parser.add_argument(
        "--isolation",
        choices=tuple(_ISOLATION),
        default="read-committed",
        help="how much it sees of what others commit meanwhile (default: read-committed)",
    )
    add_limits(parser)
    remote.add_json(parser, "print one JSON object a statement, with its command tag and rows")
    remote.add_address(parser, timeout=DEADLINE_SECONDS)
    parser.set_defaults(run=_run)


def _part(option: str, text: str) -> tuple[str, str]:
    return option, text


def _run(chosen: argparse.Namespace) -> int:
    remote.check_scope(chosen)
    check_limits(chosen)
    statements = _statements(chosen.parts, chosen.max_rows)
    with connect(chosen) as client:
        results = remote.scope(chosen, client).transaction(
            statements,
            isolation=_ISOLATION[chosen.isolation],
            read_only=chosen.read_only,
            statement_timeout=chosen.statement_timeout,
        )
    for at, result in enumerate(results):
        if chosen.json:
            print(json.dumps(_object(result), ensure_ascii=False))
        else:
            if at:
                print()
            show(result, "table")
        if result.truncated:
            print(f"usher: statements[{at}]: {MORE_ROWS}", file=sys.stderr)
    return 0


def _statements(parts: Sequence[tuple[str, str]], max_rows: int) -> list[usher.Statement]:
    """What --sql, --file and --param say, in their order."""
    found: list[tuple[str, list[str]]] = []
    for option, text in parts:
        if option != "--param":
            found.append((read_file(Path(text)) if option == "--file" else text, []))
        elif found:
            found[-1][1].append(text)
        else:
            raise SettingsError("--param: it belongs to the statement before it; begin with --sql or --file")
    if not found:
        raise SettingsError(
            "say what to run: --sql STATEMENT, --sql @NAME or --file FILE, once for each statement"
        )
    return [
        usher.Statement(name=text.removeprefix("@"), parameters=parameters, max_rows=max_rows)
        if text.startswith("@")
        else usher.Statement(text, parameters, max_rows)
        for text, parameters in found
    ]


def _object(result: usher.Result) -> dict[str, Any]:
    return {
        "command_tag": result.command_tag,
        "truncated": result.truncated,
        "rows": list(objects_of(result)),
    }
