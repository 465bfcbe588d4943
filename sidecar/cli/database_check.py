"""`usher db check`: what is wrong with a database, as SQL that mends it.

The output may be run: what is no SQL stands in comments.
"""

from __future__ import annotations

import argparse
import collections
from typing import Any

from sidecar.cli.progress import waiting
from sidecar.config import suggestion
from sidecar.core.errors import SettingsError
from sidecar.postgres import audit


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the action."""
    parser.add_argument(
        "--role",
        action="append",
        metavar="ROLE",
        help=f"a role that statements run as; may be repeated (default: {' and '.join(audit.ROLES)})",
    )
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="NAME[:OBJECT]",
        help="a finding that is known and accepted, on one object or on all; may be repeated",
    )


def validate(chosen: argparse.Namespace) -> None:
    """Raises SettingsError for a finding to accept that there is not."""
    names = [check.name for check in audit.checks()]
    for accepted in chosen.accept:
        name = accepted.partition(":")[0]
        if name not in names:
            raise SettingsError(f"--accept: there is no finding {name}{suggestion(name, names)}")


async def check(connection: Any, chosen: argparse.Namespace) -> int:
    """Prints each finding and its fix; returns 1 for errors or warnings that are not accepted."""
    with waiting("checking the database"):
        found = await audit.audit(connection, chosen.role or audit.ROLES)
    left = [one for one in found if not {one.name, f"{one.name}:{one.object}"} & set(chosen.accept)]
    for one in left:
        print(f"-- {one.severity} {one.name}: {one.object}\n--   {one.problem}\n{one.fix}\n")
    counts = collections.Counter(one.severity for one in left)
    told = ", ".join(
        f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}" for severity in audit.Severity
    )
    accepted = f"; {len(found) - len(left)} accepted" if len(found) > len(left) else ""
    print(f"-- {len(audit.checks())} checks: {told}{accepted}")
    return int(any(one.severity is not audit.Severity.NOTICE for one in left))
