"""What has come of a stream, without I/O: shared by the asynchronous and the synchronous one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from usher.errors import UsherError, invalid
from usher.results import Column, Heading, Row, Rows
from usher.v1 import query_service_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a stream has sent."""

    row_count: int
    truncated: bool
    """Whether there were more rows than the limit."""
    command_tag: str


class Received:
    """What both kinds of stream keep of the messages that came."""

    def __init__(self, *, json_text: bool) -> None:
        self.columns: tuple[Column, ...] = ()
        """The columns; they are known once the stream has begun, so before the first row."""
        self.summary: Summary | None = None
        """What was sent: known when all rows have come."""
        self._json_text = json_text
        self._heading: Heading | None = None
        self._read = False

    def _read_once(self) -> None:
        if self._read:
            raise invalid("a stream gives its rows once; ask for another one")
        self._read = True

    def _take(self, message: object) -> Sequence[Row]:
        """The rows of the next message. The first has the columns instead, the last the summary.

        Raises UsherError for what gRPC gives in place of a message when there are no more.
        """
        if not isinstance(message, query_service_pb2.StreamScopedQueryResponse):
            raise UsherError("INTERNAL", "CLIENT_OTHER", "the stream was cut: its last rows are missing")
        if self._heading is None:
            self._heading = Heading(message.columns, json_text=self._json_text)
            self.columns = self._heading.columns
        if message.HasField("summary"):
            self.summary = Summary(
                row_count=message.summary.row_count,
                truncated=message.summary.truncated,
                command_tag=message.summary.command_tag,
            )
        return Rows(self._heading, message.data, message.row_count) if message.row_count else ()
