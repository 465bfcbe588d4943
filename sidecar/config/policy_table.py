"""One table of the policy file: typed readers that report what is wrong, with the line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sidecar.config.declaring import duration
from sidecar.config.sources import suggestion
from sidecar.config.toml_lines import Keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its line in the file, and what to do about it."""

    line: int
    text: str


class Report:
    """What is wrong with a file, found so far."""

    def __init__(self, lines: Mapping[Keys, int]) -> None:
        self._lines = lines
        self.problems: list[Problem] = []

    def add(self, path: Keys, text: str, *, line_of: Keys | None = None) -> None:
        """Notes a problem of a key; where a key is missing, the line is that of its table.

        `line_of` gives the line of another key.
        """
        place = line_of or path
        while place and place not in self._lines:
            place = place[:-1]
        shown = _shown(path)
        self.problems.append(Problem(self._lines.get(place, 1), f"{shown}: {text}" if shown else text))


def _shown(path: Keys) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # What is no plain name may be anything: in quotes with escapes it stays one line.
            plain = part.replace("_", "").replace("-", "").isalnum() and part.isascii()
            text += ("." if text else "") + (part if plain else ascii(part[:64]))
    return text


class Table:
    """A table and its path. A reader gives None for a key that is absent or wrong; the latter is reported."""

    def __init__(self, content: Mapping[str, Any], path: Keys, report: Report) -> None:
        self._content = content
        self._known: set[str] = set()
        self.path = path
        self.report = report

    def keys(self) -> list[str]:
        """Every key of the table."""
        return list(self._content)

    def has(self, key: str) -> bool:
        """Whether the key is there, right or wrong."""
        self._known.add(key)
        return key in self._content

    def raw(self, key: str) -> Any:
        """The value as TOML has it; None when absent, which TOML cannot say."""
        self._known.add(key)
        return self._content.get(key)

    def wrong(self, key: str, text: str, index: int | None = None) -> None:
        """Reports a problem of a key, or of an element of its array."""
        path = (*self.path, key)
        self.report.add(path if index is None else (*path, index), text)

    def table(self, key: str) -> Table | None:
        """A table in this one."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(key, "must be a table")
            return None
        return Table(value, (*self.path, key), self.report)

    def tables(self, key: str) -> list[Table]:
        """One table, or an array of them."""
        value = self.raw(key)
        if isinstance(value, dict):
            return [Table(value, (*self.path, key), self.report)]
        found = []
        for index, item in enumerate(self._array(key, "a table, or an array of tables")):
            if isinstance(item, dict):
                found.append(Table(item, (*self.path, key, index), self.report))
            else:
                self.wrong(key, "must be a table", index)
        return found

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, "must be true or false")
            return default
        return default if value is None else value

    def text(self, key: str) -> str | None:
        """A text that is not empty."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self.wrong(key, "must be a text, not empty")
            return None
        return value

    def integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number between two bounds."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(key, f"must be a whole number from {low} to {high}")
            return None
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number between two bounds."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.wrong(key, f"must be a number from {low:g} to {high:g}")
            return None
        return float(value)

    def seconds(self, key: str, low: float, high: float) -> float | None:
        """A duration such as "5m", or a number of seconds."""
        value = self.raw(key)
        if value is None:
            return None
        seconds: float = math.nan
        if isinstance(value, str):
            try:
                seconds = duration(value)
            except ValueError as error:
                self.wrong(key, f"must be {error}")
                return None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value
        if not low <= seconds <= high:
            self.wrong(key, f"must be a duration between {low:g} s and {high:g} s")
            return None
        return float(seconds)

    def texts(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """One text or an array of them, each read by `read`, whose ValueError says what is wrong."""
        value = self.raw(key)
        if isinstance(value, str):
            return self._read(key, [(None, value)], read)
        items = []
        for index, item in enumerate(self._array(key, "a text, or an array of texts")):
            if isinstance(item, str):
                items.append((index, item))
            else:
                self.wrong(key, "must be a text", index)
        return self._read(key, items, read)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """One whole number or an array of them."""
        value = self.raw(key)
        items = [value] if isinstance(value, int) else self._array(key, "a number, or an array of numbers")
        if all(
            isinstance(item, int) and not isinstance(item, bool) and low <= item <= high for item in items
        ):
            return tuple(items)
        self.wrong(key, f"must be whole numbers from {low} to {high}")
        return ()

    def close(self) -> None:
        """Reports every key that nobody asked for: a misspelt one must not pass for absent."""
        for key in self._content.keys() - self._known:
            hint = suggestion(key, sorted(self._known)) or f"; known are {', '.join(sorted(self._known))}"
            self.wrong(key, f"there is no such key{hint}")

    def _array(self, key: str, expected: str) -> list[Any]:
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, f"must be {expected}")
            return []
        return value

    def _read(
        self, key: str, items: Iterable[tuple[int | None, str]], read: Callable[[str], T]
    ) -> tuple[T, ...]:
        found = []
        for index, item in items:
            try:
                found.append(read(item))
            except ValueError as error:
                self.wrong(key, str(error), index)
        return tuple(found)
