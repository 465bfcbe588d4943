"""Values between Postgres and the wire: kinds, columns, results and parameters.

The Python form of a value is fixed by its kind, so that neither side needs to guess:

| kind | Python form |
|---|---|
| BOOL | bool |
| INT | int |
| FLOAT | float |
| TEXT, NUMERIC, JSON, OTHER | str |
| BYTES, UUID | bytes (UUID: 16) |
| DATE | int, days since 1970-01-01; DATE_INFINITY and its negative counterpart |
| TIME | int, microseconds since midnight |
| TIMESTAMP, TIMESTAMPTZ | (seconds since 1970 rounded down, microseconds); SECONDS_INFINITY likewise |
| INTERVAL | (months, days, microseconds) |
| ARRAY | list of elements, None for NULL |
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DATE_INFINITY = 2**31 - 1
DATE_MINUS_INFINITY = -(2**31)
SECONDS_INFINITY = 2**63 - 1
SECONDS_MINUS_INFINITY = -(2**63)


class Kind(enum.IntEnum):
    """The form in which values travel; numbers equal `usher.v1.Kind`."""

    BOOL = 1
    INT = 2
    FLOAT = 3
    TEXT = 4
    BYTES = 5
    NUMERIC = 6
    DATE = 7
    TIME = 8
    TIMESTAMP = 9
    TIMESTAMPTZ = 10
    INTERVAL = 11
    UUID = 12
    JSON = 13
    OTHER = 14
    ARRAY = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a result. `element_kind` is set for arrays only."""

    name: str
    type_name: str
    type_oid: int
    kind: Kind
    element_kind: Kind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSet:
    """What a statement gave back; `data` holds one list a column, None for NULL."""

    columns: tuple[Column, ...]
    data: tuple[Sequence[Any], ...]
    row_count: int
    truncated: bool
    command_tag: str
    affected_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a stream; `data` as in ResultSet."""

    columns: tuple[Column, ...]
    data: tuple[Sequence[Any], ...]
    row_count: int

    def halves(self) -> tuple[Rows, Rows]:
        """The same rows in two."""
        middle = self.row_count // 2
        return self._cut(0, middle), self._cut(middle, self.row_count)

    def _cut(self, start: int, end: int) -> Rows:
        data = tuple(values[start:end] for values in self.data)
        return Rows(columns=self.columns, data=data, row_count=end - start)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """What a stream has sent."""

    row_count: int
    truncated: bool
    command_tag: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as the caller sent it; `kind` None is NULL. TIMESTAMP stands for both timestamp types.

    An ARRAY's value is a tuple of Parameters.
    """

    kind: Kind | None
    value: Any = None


NULL = Parameter(None)
