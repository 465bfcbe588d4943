"""The table that the scenarios end with."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A scenario, on Usher and on the naive signer."""

    scenario: str
    rotations: int = 0
    restarts: int = 0
    checked: int = 0
    wrongful: int = 0
    naive: int = 0
    """Wrongful refusals of the naive signer's tokens."""

    @property
    def figures(self) -> tuple[int, ...]:
        return self.rotations, self.restarts, self.checked, self.wrongful, self.naive

    def __add__(self, other: Row) -> Row:
        return Row(
            scenario=self.scenario,
            rotations=self.rotations + other.rotations,
            restarts=self.restarts + other.restarts,
            checked=self.checked + other.checked,
            wrongful=self.wrongful + other.wrongful,
            naive=self.naive + other.naive,
        )


_HEADS = ("scenario", "rotations", "restarts", "tokens checked", "wrongful refusals", "naive signer's")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The heads, the scenarios, and what they sum up to."""
    everything = [*rows, functools.reduce(operator.add, rows, Row(scenario="all"))]
    width = max(len(row.scenario) for row in everything)
    yield _line(width, _HEADS)
    for row in everything:
        yield _line(width, (row.scenario, *(f"{figure:,}" for figure in row.figures)))


def _line(width: int, cells: Sequence[str]) -> str:
    figures = "".join(f"  {cell:>{len(head)}}" for cell, head in zip(cells[1:], _HEADS[1:], strict=True))
    return f"{cells[0]:{width}}{figures}"
