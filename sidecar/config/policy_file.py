"""The policy file: TOML in, a Policy out, and for every mistake its line and its remedy.

docs/policy.md describes the format. No message repeats a value of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from sidecar.config.policy_caller import identity, rules
from sidecar.config.policy_table import Problem, Report, Table
from sidecar.config.toml_lines import Keys, key_lines
from sidecar.core.callers import ANONYMOUS_NAME, CallerIdentity
from sidecar.core.errors import SettingsError
from sidecar.core.policy import Policy, Rules

MAX_BYTES: Final = 1024**2
MAX_CALLERS: Final = 1000

_CALLER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_AT_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")
_SHOWN: Final = 20


class PolicyFileError(SettingsError):
    """A policy file that cannot be put in force; the message has one line a problem."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda problem: (problem.line, problem.text)))
        shown = [f"{file}:{problem.line}: {problem.text}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            shown.append(f"{file}: and {len(self.problems) - _SHOWN} more")
        super().__init__("\n".join(shown))


def load_policy(path: Path, statements: Collection[str] | None = None) -> Policy:
    """The policy in a file. `statements` are the names that callers may be given, None to check none.

    Raises SettingsError for a file that cannot be read, PolicyFileError for one that is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise SettingsError(f"{path}: is larger than {MAX_BYTES // 1024} KiB, the largest policy file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyFileError(str(path), [Problem(line, "is not UTF-8 text")]) from None
    return parse_policy(text, str(path), statements)


def parse_policy(text: str, file: str, statements: Collection[str] | None = None) -> Policy:
    """The policy in a text; `file` is its name in messages. Raises PolicyFileError."""
    document, lines = _document(text, file)
    report = Report(lines)
    top = Table(document, (), report)
    callers = top.table("callers")
    top.close()
    read: dict[str, Rules] = {}
    identities: list[CallerIdentity] = []
    for name in callers.keys() if callers is not None else ():
        assert callers is not None
        table = callers.table(name)
        if table is None:
            continue
        if not _CALLER_NAME.match(name):
            report.add(table.path, "a caller's name is a lower case letter, then letters, digits, - and _")
            continue
        known = identity(table, name)
        found = rules(table, name, statements)
        table.close()
        read[name] = replace(found, admin=known.admin)
        if name != ANONYMOUS_NAME:
            identities.append(known)
    if callers is None or not callers.keys():
        report.add((), "names no caller; write a table [callers.NAME]")
    if len(read) > MAX_CALLERS:
        report.add(("callers",), f"names more than {MAX_CALLERS} callers")
    else:
        _check_overlaps(identities, report)
    if report.problems:
        raise PolicyFileError(file, report.problems)
    return Policy(callers=read, identities=tuple(identities))


def _document(text: str, file: str) -> tuple[dict[str, Any], dict[Keys, int]]:
    """The content, and the line of every key."""
    try:
        return tomllib.loads(text), key_lines(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = _AT_LINE.search(message)
        line = int(at[1]) if at is not None and at[1] else text.rstrip("\n").count("\n") + 1
        words = message[: at.start()] if at is not None else message
        raise PolicyFileError(file, [Problem(line, f"is not TOML: {words}")]) from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or arrays in arrays without end.
        raise PolicyFileError(file, [Problem(1, "holds a number or nesting too large to read")]) from None


def _check_overlaps(identities: list[CallerIdentity], report: Report) -> None:
    """One connection must be one caller."""
    owners: dict[tuple[str, Any], str] = {}
    for known in identities:
        for kind, values in (
            ("spiffe_id", known.spiffe_ids),
            ("dns", known.dns_names),
            ("service_account", known.service_accounts),
            ("key_sha256", known.key_hashes),
        ):
            for value in values:
                owner = owners.setdefault((kind, value), known.name)
                if owner != known.name:
                    report.add(("callers", known.name, kind), f"is also an identity of callers.{owner}")
    with_ids = [known for known in identities if known.uids or known.gids]
    for one, other in combinations(with_ids, 2):
        if _may_meet(one.uids, other.uids) and _may_meet(one.gids, other.gids):
            report.add(
                ("callers", other.name, "uid" if other.uids else "gid"),
                f"a process may also be callers.{one.name}; tell them apart by uid and gid",
            )


def _may_meet(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return not one or not other or bool(set(one) & set(other))
