"""Patterns: a text in which `*` stands for any run of characters, the empty one included.

Not regular expressions: a pattern is matched in time linear in the text for each of its few stars, whatever
the text, and it cannot be left unanchored by mistake (docs/adr/0007-policy.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_LENGTH: Final = 300
MAX_STARS: Final = 4


@dataclass(frozen=True, slots=True)
class Pattern:
    """The literal parts between the stars: one part is an exact text."""

    parts: tuple[str, ...]

    def matches(self, text: str) -> bool:
        """Whether the whole text fits. Characters are compared as they are, without any folding."""
        parts = self.parts
        if len(parts) == 1:
            return text == parts[0]
        first, last = parts[0], parts[-1]
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in parts[1:-1]:
            # The earliest place is always right: it leaves most room to the parts that follow.
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def parse(text: str) -> Pattern:
    r"""The pattern that a text of the policy means; `\*` is a star and `\\` a backslash.

    Raises ValueError whose message says what is wrong.
    """
    if not text:
        raise ValueError("must not be empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters")
    parts, part, characters = [], "", iter(text)
    for char in characters:
        if char == "*":
            parts.append(part)
            part = ""
        elif char == "\\":
            escaped = next(characters, "")
            if escaped not in ("*", "\\"):
                raise ValueError(r"a backslash stands only before * or \ ; write \\ for itself")
            part += escaped
        else:
            part += char
    parts.append(part)
    if len(parts) > MAX_STARS + 1:
        raise ValueError(f"must have at most {MAX_STARS} stars")
    return Pattern(tuple(parts))


def any_matches(patterns: Iterable[Pattern], text: str) -> bool:
    """Whether the text fits one of the patterns."""
    for pattern in patterns:  # noqa: SIM110 - a generator would cost more than the match
        if pattern.matches(text):
            return True
    return False
