"""Named statements: SQL that the operator wrote, which callers run by its name.

A file holds one statement below a header of comments:

    -- name: orders_by_customer
    -- params: customer uuid, limit int4
    -- result: id uuid, total numeric
    -- read_only: true
    SELECT id, total FROM orders WHERE customer_id = $1 LIMIT $2
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.sql import check_statement
from sidecar.core.sql_text import bare, is_one_statement, parameter_count

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_HEADER: Final = re.compile(r"--[ \t]*(\w+)[ \t]*:[ \t]*(.*)\Z")
_COLUMN: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62})[ \t]+([A-Za-z_][A-Za-z0-9_ .]{0,62}(?:\[\])?)\Z")
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_KEYS: Final = ("name", "params", "result", "read_only")


@dataclass(frozen=True, slots=True)
class NamedColumn:
    """A parameter or a column of the result, as the header declares it."""

    name: str
    type_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStatement:
    """One statement with its header. `result` is for readers: Postgres decides what comes back."""

    name: str
    sql: str
    params: tuple[NamedColumn, ...] = ()
    result: tuple[NamedColumn, ...] = ()
    read_only: bool = False


def is_statement_name(text: str) -> bool:
    """Whether a text can be the name of a statement."""
    return _NAME.match(text) is not None


class Catalog:
    """The named statements of a server. They do not change while it runs."""

    def __init__(self, statements: Iterable[NamedStatement] = ()) -> None:
        self._by_name: Mapping[str, NamedStatement] = {statement.name: statement for statement in statements}

    @property
    def names(self) -> frozenset[str]:
        """Every name."""
        return frozenset(self._by_name)

    def find(self, name: str) -> NamedStatement:
        """The statement of this name. Raises NAMED_STATEMENT_UNKNOWN."""
        found = self._by_name.get(name)
        if found is None:
            raise UsherError(
                Reason.NAMED_STATEMENT_UNKNOWN,
                "statement: this server holds no statement of that name; its files are in statements_dir",
                {"field": "statement"},
            )
        return found


def parse(text: str, file: str, max_bytes: int) -> NamedStatement:
    """The statement of one file. Raises SettingsError as `file:line: what is wrong`."""
    found: dict[str, tuple[int, str]] = {}
    lines = _LINE_END.split(text)
    number = 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("--"):
            break
        header = _HEADER.match(stripped)
        if header is None:
            continue
        key, value = header[1], header[2].strip()
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; the header knows {', '.join(_KEYS)}"
            raise _wrong(file, number, f"there is no header {key}{hint}")
        if key in found:
            raise _wrong(file, number, f"{key} is given twice")
        found[key] = number, value
    name_line, name = found.get("name", (1, ""))
    if not name:
        raise _wrong(file, name_line, "the header needs a line `-- name: my_statement`")
    if not is_statement_name(name):
        raise _wrong(
            file, name_line, "name: use a lower case letter, then letters, digits and _ (at most 63)"
        )
    params = _columns(file, "params", found)
    _check_sql(text, file, number, len(params), max_bytes)
    return NamedStatement(
        name=name,
        sql=text,
        params=params,
        result=_columns(file, "result", found),
        read_only=_switch(file, "read_only", found),
    )


def _check_sql(text: str, file: str, line: int, params: int, max_bytes: int) -> None:
    try:
        check_statement(text, max_bytes)
    except UsherError as error:
        raise _wrong(file, line, error.message) from None
    try:
        plain = bare(text)
    except ValueError as error:
        raise _wrong(file, line, f"sql: {error}") from None
    if not is_one_statement(plain):
        raise _wrong(file, line, "sql: holds more than one statement; a file is one, a WITH joins several")
    used = parameter_count(plain)
    if used != params:
        raise _wrong(file, line, f"sql: uses {used} parameters ($1, $2, ...), and params declares {params}")


def _columns(file: str, key: str, found: Mapping[str, tuple[int, str]]) -> tuple[NamedColumn, ...]:
    line, value = found.get(key, (0, ""))
    columns: list[NamedColumn] = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        match = _COLUMN.match(part)
        if match is None:
            raise _wrong(file, line, f"{key}: write `name type, name type`, such as `id uuid, limit int4`")
        columns.append(NamedColumn(match[1], match[2]))
    if len({column.name for column in columns}) < len(columns):
        raise _wrong(file, line, f"{key}: names a column twice")
    return tuple(columns)


def _switch(file: str, key: str, found: Mapping[str, tuple[int, str]]) -> bool:
    line, value = found.get(key, (0, "false"))
    if value not in ("true", "false"):
        raise _wrong(file, line, f"{key}: write true or false")
    return value == "true"


def _wrong(file: str, line: int, what: str) -> SettingsError:
    return SettingsError(f"{file}:{line}: {what}")
