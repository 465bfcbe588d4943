"""The parts of a stream as messages, none larger than a client should have to take at once."""

from __future__ import annotations

from usher.v1 import query_service_pb2 as pb

from sidecar.core.errors import Reason, UsherError
from sidecar.core.queries import Deliver
from sidecar.core.streams import LARGEST_CHUNK_BYTES
from sidecar.core.values import Column, Rows, StreamEnd
from sidecar.services.calls import Write
from sidecar.services.convert import column_messages
from sidecar.services.convert_values import column_data


def delivery(write: Write, limit: int) -> Deliver:
    """What sends the parts of a stream by `write`; `limit` is the largest message, in bytes.

    Raises RESULT_TOO_LARGE for a row that does not fit into one.
    """

    async def deliver(part: tuple[Column, ...] | Rows | StreamEnd) -> int:
        if isinstance(part, Rows):
            return await _send_rows(write, part, limit)
        if isinstance(part, StreamEnd):
            summary = pb.StreamSummary(
                row_count=part.row_count, truncated=part.truncated, command_tag=part.command_tag
            )
            message = pb.StreamScopedQueryResponse(summary=summary)
        else:
            message = pb.StreamScopedQueryResponse(columns=column_messages(part))
        return await _send(write, message.SerializeToString(), limit)

    return deliver


async def _send_rows(write: Write, rows: Rows, limit: int) -> int:
    encoded = pb.StreamScopedQueryResponse(
        data=[column_data(column, data) for column, data in zip(rows.columns, rows.data, strict=True)],
        row_count=rows.row_count,
    ).SerializeToString()
    if len(encoded) > min(limit, LARGEST_CHUNK_BYTES) and rows.row_count > 1:
        first, second = rows.halves()
        return await _send_rows(write, first, limit) + await _send_rows(write, second, limit)
    return await _send(write, encoded, limit)


async def _send(write: Write, encoded: bytes, limit: int) -> int:
    if len(encoded) > limit:
        raise UsherError(
            Reason.RESULT_TOO_LARGE,
            f"a row has {len(encoded)} bytes, the limit is {limit}; ask for fewer columns, or parts of them",
            {"size": str(len(encoded)), "limit": str(limit)},
        )
    await write(encoded)
    return len(encoded)
