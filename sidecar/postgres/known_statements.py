"""What a connection knows of statements it has run before, so that they need not be described first.

Nothing is kept in Postgres, which parses each statement anew and describes it in the same round trip; an
answer that differs from what is kept here means that the schema has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from sidecar.postgres.exchange import Exchange, Part

if TYPE_CHECKING:
    from sidecar.postgres.codecs import Prepared

MOST_STATEMENTS: Final = 256
LONGEST_TEXT: Final = 16 * 1024
"""Characters. Longer texts are rarely sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A statement, and what Postgres said when it described it."""

    prepared: Prepared
    described: bytes

    def is_outdated(self, exchange: Exchange, error: BaseException | None = None) -> bool:
        """Whether the schema is another than it was then, as an exchange with the statement showed."""
        if exchange.failed is Part.DESCRIPTION:
            return isinstance(error, asyncpg.SyntaxOrAccessError | asyncpg.InvalidSchemaNameError)
        return exchange.described not in (b"", self.described)


class KnownStatements:
    """The statements of one connection that were used last, by role and text: a role's search_path decides
    what the names in a text mean."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, role: str, sql: str) -> Known | None:
        """What is known of the statement, if anything."""
        known = self._known.get((role, sql))
        if known is not None:
            self._known.move_to_end((role, sql))
        return known

    def keep(self, role: str, sql: str, known: Known) -> None:
        """Remembers; the one that was used longest ago makes room."""
        if len(sql) > LONGEST_TEXT:
            return
        self._known[role, sql] = known
        self._known.move_to_end((role, sql))
        if len(self._known) > MOST_STATEMENTS:
            self._known.popitem(last=False)

    def forget(self, role: str, sql: str) -> None:
        """The schema has changed."""
        self._known.pop((role, sql), None)
