"""What is attacked: something that runs a step as somebody, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.attacks.corpus import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the caller is told: rows as text, or everything that an error says. `seconds` until then."""

    rows: tuple[tuple[str, ...], ...] = ()
    error: str | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All that is in it."""
        return "\n".join([*(cell for row in self.rows for cell in row), self.error or ""])


class Target(Protocol):
    """An executor under attack."""

    def start(self, step: Step) -> Callable[[], Outcome]:
        """Starts a request; what it returns waits for the answer."""
        ...

    def forget(self) -> None:
        """Begins anew for the next case, where it does not do so by itself."""
        ...

    def memory(self, outcome: Outcome) -> int:
        """The most memory, in bytes, that the executor took since `forget` for this answer."""
        ...
