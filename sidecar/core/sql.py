"""A first look at a statement's text: its leading keyword, and whether a scoped query may run it.

Postgres parses the statement; this only skips what may stand before the first keyword. The caller's SQL goes
by the extended protocol, which takes one statement, so the first keyword decides what it is (PostgreSQL
documentation, "Extended Query").
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.core.errors import Reason, UsherError, invalid_field

ALLOWED_VERBS: Final = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE"})
"""Every other statement is a utility command: it could end the transaction, change the role or outlive it."""

WRITING_VERBS: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})

_SPACE: Final = " \t\n\r\f\v"  # what Postgres' lexer skips (scan.l, `space`)

# White space and opening brackets, `--` comments (a line feed or a carriage return ends one, scan.l), and
# `/* */` comments with none inside. Possessive: nothing is ever tried twice.
_SKIPPED: Final = re.compile(rf"(?:[{_SPACE}(]++|--[^\n\r]*+|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/)*+")
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")
_LETTERS: Final = re.compile("[A-Za-z]*")


def check_statement(sql: str, max_bytes: int) -> str:
    """Returns the statement's leading keyword in capitals.

    Raises SQL_EMPTY, SQL_TOO_LARGE, STATEMENT_NOT_ALLOWED, or INVALID_FIELD for a NUL character.
    """
    # A character is at least one byte: the cheap test first, so that a huge text is not encoded.
    if len(sql) > max_bytes or len(sql.encode()) > max_bytes:
        raise invalid_field(
            "sql", f"is longer than {max_bytes} bytes; pass data as parameters", Reason.SQL_TOO_LARGE
        )
    if "\0" in sql:
        raise invalid_field("sql", "must not hold a NUL character")
    verb = leading_keyword(sql)
    if not verb:
        raise invalid_field("sql", "holds no statement; send one", Reason.SQL_EMPTY)
    if verb not in ALLOWED_VERBS:
        raise UsherError(
            Reason.STATEMENT_NOT_ALLOWED,
            "sql: only SELECT, VALUES, TABLE, WITH, INSERT, UPDATE, DELETE and MERGE can run in a scope; "
            "the transaction, role and settings are the sidecar's",
            {"field": "sql"},
        )
    return verb


def leading_keyword(sql: str) -> str:
    """The first word in capitals; "" for an empty text, "?" when no word comes first.

    Skips white space, `--` and nested `/* */` comments, and opening brackets.
    """
    at, end = _skip(sql, 0), len(sql)
    while sql.startswith("/*", at):
        at = _skip(sql, _comment_end(sql, at))
    if at == end or not sql[at:].strip(_SPACE + ";"):
        return ""
    stop = _end(_LETTERS.match(sql, at))
    # A word that goes on in other characters is not the keyword: `select_x`, `SELECTé`.
    if stop < end and (sql[stop] in "_$" or sql[stop].isdigit() or not sql[stop].isascii()):
        return "?"
    return sql[at:stop].upper() or "?"


def _skip(sql: str, at: int) -> int:
    return _end(_SKIPPED.match(sql, at))


def _comment_end(sql: str, at: int) -> int:
    """Where a `/*` comment ends; they nest (PostgreSQL documentation, "Comments"). The end when unclosed."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # these patterns match the empty text as well
    return match.end()
