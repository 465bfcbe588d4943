"""Arrays in Postgres text form (PostgreSQL documentation, section 8.15.6), one dimension only."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

_SPACE: Final = " \t\n\r\v\f"
# Printed only when a lower bound is not 1, or when there are more dimensions.
_BOUNDS: Final = re.compile(r"\[[+-]?\d+:[+-]?\d+\]=", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class NestedArrayError(ValueError):
    """The array has more than one dimension."""


def parse_array(text: str, delimiter: str = ",") -> list[str | None]:
    """The elements of an array literal, None for NULL. A lower bound other than 1 is dropped.

    Raises NestedArrayError for more than one dimension and ValueError for anything that is no array literal;
    neither shows the text.
    """
    body = text.strip(_SPACE)
    bounds = _BOUNDS.match(body)
    if bounds:
        body = body[bounds.end() :]
    elif body.startswith("["):
        raise NestedArrayError("it has more than one dimension")
    if not body.startswith("{"):
        raise ValueError("it is not an array literal such as {1,2,NULL}")
    if body.endswith("}") and not body[1:-1].strip(_SPACE):
        return []

    item_pattern = _item_pattern(delimiter)
    elements: list[str | None] = []
    position = 1
    while True:
        item = item_pattern.match(body, position)
        if item is None:
            if body[position:].lstrip(_SPACE).startswith("{"):
                raise NestedArrayError("it has more than one dimension")
            raise ValueError("it is not an array literal such as {1,2,NULL}")
        quoted, bare, end = item.groups()
        elements.append(_ESCAPE.sub(r"\1", quoted) if quoted is not None else _bare_element(bare))
        position = item.end()
        if end == "}":
            break
    if position != len(body):
        raise ValueError("something follows its closing brace")
    return elements


def format_array(elements: Iterable[str | None], delimiter: str = ",") -> str:
    """The array literal of these elements."""
    # Quoting every element spares the rules on which of them need it.
    return "{" + delimiter.join("NULL" if e is None else _quoted(e) for e in elements) + "}"


@functools.cache
def _item_pattern(delimiter: str) -> re.Pattern[str]:
    """One element, quoted or bare, with the delimiter or brace behind it. Possessive, so never quadratic."""
    mark = re.escape(delimiter)
    return re.compile(
        rf'(?:[ \t\n\r\v\f]*+"((?:[^"\\]|\\.)*+)"[ \t\n\r\v\f]*+|([^{{}}"\\{mark}]*+))([{mark}}}])',
        re.DOTALL,
    )


def _bare_element(text: str) -> str | None:
    element = text.strip(_SPACE)
    if not element:
        raise ValueError("an element is missing between two delimiters")
    return None if element.upper() == "NULL" else element


def _quoted(element: str) -> str:
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'
