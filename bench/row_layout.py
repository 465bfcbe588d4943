"""What the layout of rows costs: columns of packed lists against one message a cell.

Usage: python bench/row_layout.py. Prints microseconds of CPU a row, medians of several rounds in which the
two take turns, for 1, 100 and 10,000 rows of six mixed columns. docs/adr/0002-row-layout.md decides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from usher.v1 import query_service_pb2, values_pb2

from sidecar.core.values import Column, Kind, ResultSet
from sidecar.services.convert import result_bytes

ROUNDS = 9
COLUMNS = (
    ("id", Kind.INT),
    ("name", Kind.TEXT),
    ("key", Kind.UUID),
    ("at", Kind.TIMESTAMPTZ),
    ("amount", Kind.NUMERIC),
    ("extra", Kind.JSON),
)


def columns_of(count: int) -> ResultSet:
    """A result as the database room gives it."""
    numbers = range(count)
    return ResultSet(
        columns=tuple(Column(name=name, type_name=name, type_oid=1, kind=kind) for name, kind in COLUMNS),
        data=(
            list(numbers),
            [f"name {number}" for number in numbers],
            [number.to_bytes(16, "big") for number in numbers],
            [(1_900_000_000 + number, number % 1_000_000) for number in numbers],
            [f"{number}.25" for number in numbers],
            [f'{{"n": {number}}}' for number in numbers],
        ),
        row_count=count,
        truncated=False,
        command_tag=f"SELECT {count}",
        affected_rows=count,
    )


def encode_columns(result: ResultSet) -> bytes:
    return result_bytes(result, 2**31)


def decode_columns(data: bytes) -> list[tuple[Any, ...]]:
    response = query_service_pb2.RunScopedQueryResponse.FromString(data)
    ints, texts, uuids, times, numerics, jsons = response.data
    stamps = zip(times.timestamps.seconds, times.timestamps.micros, strict=True)
    return list(zip(ints.ints, texts.texts, uuids.blobs, stamps, numerics.texts, jsons.texts, strict=True))


def encode_cells(result: ResultSet) -> bytes:
    rows = values_pb2.ArrayValue()
    for number, name, key, (seconds, micros), amount, extra in zip(*result.data, strict=True):
        row = rows.elements.add().array_value.elements
        row.add(int_value=number)
        row.add(text_value=name)
        row.add(uuid_value=key)
        row.add(timestamp_value=values_pb2.Timestamp(seconds=seconds, micros=micros))
        row.add(numeric_value=amount)
        row.add(json_value=extra)
    encoded: bytes = rows.SerializeToString()
    return encoded


def decode_cells(data: bytes) -> list[tuple[Any, ...]]:
    found = []
    for row in values_pb2.ArrayValue.FromString(data).elements:
        number, name, key, at, amount, extra = row.array_value.elements
        stamp = (at.timestamp_value.seconds, at.timestamp_value.micros)
        found.append(
            (
                number.int_value,
                name.text_value,
                key.uuid_value,
                stamp,
                amount.numeric_value,
                extra.json_value,
            )
        )
    return found


def cpu_microseconds(work: Callable[[], object], repeat: int) -> float:
    started = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - started) / repeat * 1e6


def measure(count: int) -> dict[str, Sequence[float]]:
    result = columns_of(count)
    by_column, by_cell = encode_columns(result), encode_cells(result)
    assert decode_columns(by_column) == decode_cells(by_cell)
    repeat = max(3, 30_000 // (count + 10))
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, work in (
            ("columns encode", lambda: encode_columns(result)),
            ("cells encode", lambda: encode_cells(result)),
            ("columns decode", lambda: decode_columns(by_column)),
            ("cells decode", lambda: decode_cells(by_cell)),
        ):
            found.setdefault(name, []).append(cpu_microseconds(work, repeat) / count)
    found["columns bytes"] = [len(by_column) / count]
    found["cells bytes"] = [len(by_cell) / count]
    return found


def main() -> None:
    print(f"{'rows':>6} {'':8} {'columns':>9} {'cells':>9} {'ratio':>6}   per row; us of CPU, or bytes")
    for count in (1, 100, 10_000):
        found = {name: statistics.median(values) for name, values in measure(count).items()}
        for what in ("encode", "decode", "bytes"):
            columns, cells = found[f"columns {what}"], found[f"cells {what}"]
            print(f"{count:>6} {what:8} {columns:>9.2f} {cells:>9.2f} {cells / columns:>6.1f}")


if __name__ == "__main__":
    main()
