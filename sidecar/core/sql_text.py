"""SQL text without what is quoted: enough of Postgres' lexer to count statements and find parameters.

For named statements only, which an operator wrote. Postgres itself parses every statement, and takes one
(PostgreSQL documentation, "Lexical Structure"; `standard_conforming_strings` is on).
"""

from __future__ import annotations

import re
from typing import Final

_DOLLAR_QUOTE: Final = re.compile(r"\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$")
_PARAMETER: Final = re.compile(r"\$([0-9]+)")
_WORD: Final = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")


def bare(sql: str) -> str:
    """The SQL with a space in place of every comment, string, quoted name and dollar-quoted text.

    Raises ValueError when one of them does not end.
    """
    kept: list[str] = []
    at, end = 0, len(sql)
    while at < end:
        stop = _quoted_end(sql, at)
        if stop is not None:
            kept.append(" ")
            at = stop
        elif (word := _WORD.match(sql, at)) is not None:
            # A whole word at once: the $ in a name begins nothing. E'..' is a string with escapes.
            escapes = word[0] in ("E", "e") and sql.startswith("'", word.end())
            kept.append(" " if escapes else word[0])
            at = _string_end(sql, word.end(), escapes=True) if escapes else word.end()
        else:
            kept.append(sql[at])
            at += 1
    return "".join(kept)


def is_one_statement(bare_sql: str) -> bool:
    """Whether no second statement follows a semicolon."""
    return not bare_sql.partition(";")[2].strip(" \t\n\r\f\v;")


def parameter_count(bare_sql: str) -> int:
    """The highest $n, 0 for none. Words hold no parameter: `a$1` is a name."""
    numbers = [int(number[:6]) for number in _PARAMETER.findall(_WORD.sub(" ", bare_sql))]
    return max(numbers, default=0)


def _quoted_end(sql: str, at: int) -> int | None:
    """Where a quoted part or comment that begins here ends; None when none begins."""
    if sql.startswith("--", at):
        ends = [place for mark in "\n\r" if (place := sql.find(mark, at)) >= 0]
        return min(ends, default=len(sql))
    if sql.startswith("/*", at):
        return _comment_end(sql, at)
    if sql[at] == "'":
        return _string_end(sql, at, escapes=False)
    if sql[at] == '"':
        return _after(sql, '"', at + 1, "a quoted name")
    if (quote := _DOLLAR_QUOTE.match(sql, at)) is not None:
        return _after(sql, quote[0], quote.end(), "a dollar-quoted text")
    return None


def _after(sql: str, mark: str, at: int, what: str) -> int:
    found = sql.find(mark, at)
    if found < 0:
        raise ValueError(f"{what} does not end")
    return found + len(mark)


def _string_end(sql: str, at: int, *, escapes: bool) -> int:
    """Where a string ends that begins at `at`; a doubled quote in it is one."""
    at += 1
    while at < len(sql):
        if sql[at] == "'":
            if not sql.startswith("''", at):
                return at + 1
            at += 2
        else:
            at += 2 if escapes and sql[at] == "\\" else 1
    raise ValueError("a string does not end")


def _comment_end(sql: str, at: int) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    raise ValueError("a comment does not end")
