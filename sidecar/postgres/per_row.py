"""Policies that ask for claims once a row, and the same policies asking once a statement.

Postgres works a sub-select that names no column off once a statement; a call that stands free, once a row.
"""

from __future__ import annotations

import re
from typing import Final

_CALL: Final = re.compile(r"(?<![\w$.\"])(?:auth\.(?:session|jwt|user_id|uid)|usher\.not_revoked)\(\)")
_TOKEN: Final = re.compile(
    rf"""
    (?P<skip>'(?:[^']|'')*' | "(?:[^"]|"")*")  # Postgres prints texts so, and E'...' where \ is in them
    | (?P<call>{_CALL.pattern})
    | (?P<select>\(\s*SELECT\b)
    | (?P<open>\()
    | (?P<close>\))
    """,
    re.VERBOSE,
)


def once_a_statement(expression: str) -> str:
    """An expression, as Postgres prints it, with each free call of the functions in a sub-select."""
    inside: list[bool] = []
    """For each open bracket: whether it stands in a sub-select."""

    def replace(match: re.Match[str]) -> str:
        text = match[0]
        if match["select"]:
            inside.append(True)
        elif match["open"]:
            inside.append(bool(inside) and inside[-1])
        elif match["close"]:
            inside.pop()
        elif match["call"] and not (inside and inside[-1]):
            return f"(SELECT {text})"
        return text

    return _TOKEN.sub(replace, expression)
