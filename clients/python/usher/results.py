"""Rows as callers see them: of a whole result, and of the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from usher.v1 import query_service_pb2, values_pb2
from usher.values import column


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a result; `kind` as in values.proto, without its prefix."""

    name: str
    type_name: str
    kind: str
    element_kind: str | None


class Heading:
    """The columns of a result or stream, and how their values are read."""

    def __init__(self, metas: Iterable[values_pb2.Column], *, json_text: bool) -> None:
        self._metas, self._json_text = tuple(metas), json_text
        self.columns = tuple(
            Column(
                name=meta.name,
                type_name=meta.type_name,
                kind=_kind(meta.kind),
                element_kind=_kind(meta.element_kind) if meta.element_kind else None,
            )
            for meta in self._metas
        )
        self.names: dict[str, int] = {}
        for at, meta in enumerate(self._metas):
            self.names.setdefault(meta.name, at)

    def read(self, data: Iterable[values_pb2.ColumnData], count: int) -> tuple[list[Any], ...]:
        """The values of so many rows, a list for each column."""
        return tuple(
            column(meta, values, count, json_text=self._json_text)
            for meta, values in zip(self._metas, data, strict=True)
        )


class Row(Sequence[Any]):
    """A view of one row: by position, or by name; of columns with the same name the first."""

    __slots__ = ("_at", "_rows")

    def __init__(self, rows: Rows, at: int) -> None:
        self._rows, self._at = rows, at

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [values[self._at] for values in self._rows.data[key]]
        position = self._rows.position(key) if isinstance(key, str) else key
        return self._rows.data[position][self._at]

    def __iter__(self) -> Iterator[Any]:
        return (values[self._at] for values in self._rows.data)

    def __len__(self) -> int:
        return len(self._rows.data)

    def __repr__(self) -> str:
        return f"<Row {self._at} of {len(self._rows)}>"

    def as_dict(self) -> dict[str, Any]:
        """The values by column name."""
        return {name: self[name] for name in self._rows.names}


class Rows(Sequence[Row]):
    """Rows, kept as columns."""

    def __init__(self, heading: Heading, data: Iterable[values_pb2.ColumnData], count: int) -> None:
        self.columns = heading.columns
        self.names = heading.names
        """Column names with their positions, in the order of the columns."""
        self.data = heading.read(data, count)
        """The values, a list for each column."""
        self._count = count

    def position(self, name: str) -> int:
        """Where the column of this name stands. Raises KeyError."""
        return self.names[name]

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [Row(self, row) for row in range(*at.indices(self._count))]
        row = at + self._count if at < 0 else at
        if not 0 <= row < self._count:
            raise IndexError("there is no such row")
        return Row(self, row)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, at) for at in range(self._count))


class Result(Rows):
    """The rows of a statement."""

    def __init__(
        self, response: query_service_pb2.RunScopedQueryResponse, *, json_text: bool = False
    ) -> None:
        heading = Heading(response.columns, json_text=json_text)
        super().__init__(heading, response.data, response.row_count)
        self.truncated: bool = response.truncated
        """Whether there were more rows than the limit."""
        self.command_tag: str = response.command_tag
        self.affected_rows: int = response.affected_rows


def _kind(number: int) -> str:
    return values_pb2.Kind.Name(number).removeprefix("KIND_")
