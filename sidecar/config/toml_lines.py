"""Where the keys of a TOML text stand: tomllib parses, but tells no lines.

Only for texts that tomllib has accepted: this skips what it need not understand (TOML 1.0).
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

Keys = tuple[str | int, ...]
"""Keys and, inside arrays, indexes from 0."""

_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART: Final = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]\}#\n]*")


def key_lines(text: str) -> dict[Keys, int]:
    """The line, from 1, of every key, table and array element."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Keys, int] = {}
        self._counts: dict[Keys, int] = {}
        self._line, self._counted = 1, 0

    def scan(self) -> dict[Keys, int]:
        table: Keys = ()
        while self._skip_space():
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Keys:
        """`[a.b]` or `[[a.b]]`; what an array of tables holds is counted."""
        is_array = self._text.startswith("[[", self._at)
        line = self._line_here()
        self._at += 2 if is_array else 1
        keys = self._key()
        self._at += 2 if is_array else 1
        path: Keys = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            self._lines.setdefault(path, line)
            if is_array and number == len(keys):
                index = self._counts.get(path, 0)
                self._counts[path] = index + 1
                path = (*path, index)
                self._lines[path] = line
            elif path in self._counts:
                path = (*path, self._counts[path] - 1)
        if not is_array:
            self._lines[path] = line
        return path

    def _pair(self, table: Keys) -> None:
        line = self._line_here()
        path = table
        for key in self._key():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        keys = []
        while True:
            part = _KEY_PART.match(self._text, self._at)
            assert part is not None  # tomllib has accepted the text
            self._at = part.end()
            written = part[1]
            keys.append(tomllib.loads(f"k = {written}")["k"] if written[0] in "\"'" else written)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, path: Keys) -> None:
        self._skip_space()
        if self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            assert found is not None  # the second one matches even nothing
            self._at = found.end()

    def _array(self, path: Keys) -> None:
        self._at += 1
        index = 0
        while self._skip_space() and not self._text.startswith("]", self._at):
            self._lines[(*path, index)] = self._line_here()
            self._value((*path, index))
            self._skip_comma()
            index += 1
        self._at += 1

    def _inline_table(self, path: Keys) -> None:
        self._at += 1
        while self._skip_space() and not self._text.startswith("}", self._at):
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip_space()
        if self._text.startswith(",", self._at):
            self._at += 1

    def _skip_space(self) -> bool:
        """Skips white space and comments; whether anything is left."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None  # it matches even nothing
        self._at = space.end()
        return self._at < len(self._text)

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
