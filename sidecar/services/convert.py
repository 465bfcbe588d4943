"""Messages to core values and back, but for the values of rows (convert_values.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from usher.v1 import query_service_pb2 as query
from usher.v1 import values_pb2 as values

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import Column, ResultSet
from sidecar.services.convert_values import column_data


def struct_to_dict(struct: Struct) -> dict[str, Any]:
    """The JSON object in a Struct. Numbers are floats here; core.claims gives integers back."""
    fields = struct.fields  # whose items() is Python's own, and slower than asking for each
    return {name: _value(fields[name]) for name in fields}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    return getattr(value, kind)


def dict_to_struct(payload: Mapping[str, Any]) -> Struct:
    """A JSON object as a Struct. Its integers are exact: core.claims admits none of 2^53 or more."""
    struct = Struct()
    fill_struct(struct, payload)
    return struct


def fill_struct(struct: Struct, payload: Mapping[str, Any]) -> None:
    """The same, in a Struct that is part of a message: no copy is made of it."""
    fields = struct.fields
    for name, value in payload.items():
        # The common types first: Struct's own way asks for each of the others before.
        if type(value) is str:
            fields[name].string_value = value
        elif type(value) is int:
            fields[name].number_value = value
        elif type(value) is list:
            items = fields[name].list_value
            items.Clear()  # else one without items would be no value at all
            items.extend(value)
        else:
            struct[name] = value


def seconds(duration: Duration) -> float:
    """A Duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def statement_timeout(
    options: query.QueryOptions | query.StreamOptions | query.TransactionOptions,
) -> float | None:
    """The limit of a statement in seconds; None for the default."""
    return seconds(options.statement_timeout) if options.HasField("statement_timeout") else None


def duration(length: float) -> Duration:
    """Seconds as a Duration; both of its parts have the same sign (google/protobuf/duration.proto)."""
    whole = math.trunc(length)
    return Duration(seconds=whole, nanos=int((length - whole) * 1e9))


def timestamp(moment: float) -> Timestamp:
    """Seconds since 1970 as a Timestamp."""
    whole = math.floor(moment)
    # A moment just before a whole second may round up to it.
    return Timestamp(seconds=whole, nanos=min(int((moment - whole) * 1e9), 999_999_999))


def column_messages(columns: Sequence[Column]) -> list[values.Column]:
    """The columns of a result as messages."""
    return [
        values.Column(
            name=column.name,
            type_name=column.type_name,
            type_oid=column.type_oid,
            kind=int(column.kind),  # type: ignore[arg-type]  # the numbers are equal
            element_kind=int(column.element_kind or 0),  # type: ignore[arg-type]
        )
        for column in columns
    ]


def result_bytes(result: ResultSet, limit: int) -> bytes:
    """The serialized RunScopedQueryResponse.

    Raises RESULT_TOO_LARGE when it would exceed `limit` bytes, the largest message the server sends.
    """
    return _fitting(_result(result), limit)


def results_bytes(results: Iterable[ResultSet], limit: int) -> bytes:
    """The serialized RunScopedTransactionResponse. Raises as result_bytes does."""
    return _fitting(query.RunScopedTransactionResponse(results=map(_result, results)), limit)


def _result(result: ResultSet) -> query.RunScopedQueryResponse:
    return query.RunScopedQueryResponse(
        columns=column_messages(result.columns),
        data=[column_data(column, data) for column, data in zip(result.columns, result.data, strict=True)],
        row_count=result.row_count,
        truncated=result.truncated,
        command_tag=result.command_tag,
        affected_rows=result.affected_rows,
    )


def _fitting(response: Message, limit: int) -> bytes:
    encoded = response.SerializeToString()
    if len(encoded) > limit:
        raise UsherError(
            Reason.RESULT_TOO_LARGE,
            f"the result has {len(encoded)} bytes, the limit is {limit}; ask for fewer columns or rows "
            "(max_rows), or page by key: WHERE id > $1 ORDER BY id LIMIT n",
            {"size": str(len(encoded)), "limit": str(limit)},
        )
    return encoded
