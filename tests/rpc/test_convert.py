"""JSON objects, times and results survive the way into messages and out of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from usher.v1 import query_service_pb2, values_pb2

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import Column, Kind, ResultSet
from sidecar.services.convert import (
    dict_to_struct,
    duration,
    result_bytes,
    seconds,
    struct_to_dict,
    timestamp,
)
from tests.rpc.running import ID_COLUMN, integers

TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
NANOS = 1_000_000_000


@given(st.dictionaries(TEXTS, JSON, max_size=5))
def test_json_objects_survive(payload: dict[str, Any]) -> None:
    struct = Struct.FromString(dict_to_struct(payload).SerializeToString())
    assert struct_to_dict(struct) == payload


def test_empty_objects_and_lists_are_not_lost() -> None:
    payload = {"object": {}, "list": [], "inside": [{}, [], None]}
    assert struct_to_dict(dict_to_struct(payload)) == payload


def test_a_boolean_is_no_number() -> None:
    back = struct_to_dict(dict_to_struct({"flag": True, "one": 1}))
    assert back["flag"] is True
    assert type(back["one"]) is float


def test_a_value_without_a_kind_is_null() -> None:
    struct = Struct(fields={"a": Value(), "b": Value(list_value=ListValue(values=[Value()]))})
    assert struct_to_dict(struct) == {"a": None, "b": [None]}


def test_numbers_that_json_lacks_are_handed_on_to_the_rule() -> None:
    back = struct_to_dict(Struct(fields={"a": Value(number_value=math.nan)}))
    assert math.isnan(back["a"])


@given(st.floats(-1e9, 1e9))
def test_durations_survive_and_are_valid(length: float) -> None:
    message = duration(length)
    assert seconds(message) == pytest.approx(length, abs=1e-6)
    assert message.seconds * message.nanos >= 0, "both parts have the same sign"
    assert abs(message.nanos) < NANOS
    message.ToJsonString()  # refuses what is not a valid Duration


@pytest.mark.parametrize(
    ("length", "parts"),
    [(0.0, (0, 0)), (1.5, (1, 500_000_000)), (-0.5, (0, -500_000_000)), (-1.5, (-1, -500_000_000))],
)
def test_parts_of_a_duration(length: float, parts: tuple[int, int]) -> None:
    message = duration(length)
    assert (message.seconds, message.nanos) == parts


def test_a_nanosecond_beside_an_hour_is_seen() -> None:
    assert not seconds(Duration(seconds=3600, nanos=1)).is_integer()


@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63)])
def test_extreme_durations_are_numbers(extreme: int) -> None:
    assert seconds(Duration(seconds=extreme, nanos=-1)) == float(extreme)


@given(st.floats(-62_135_596_800, 253_402_300_799))
def test_timestamps_survive_and_are_valid(moment: float) -> None:
    message = timestamp(moment)
    assert message.seconds + message.nanos / NANOS == pytest.approx(moment, abs=1e-4)
    assert 0 <= message.nanos < NANOS


def test_a_result_becomes_columns() -> None:
    result = ResultSet(
        columns=(
            ID_COLUMN,
            Column(name="tags", type_name="text[]", type_oid=1009, kind=Kind.ARRAY, element_kind=Kind.TEXT),
        ),
        data=([2**63 - 1, None], [["a", None], None]),
        row_count=2,
        truncated=True,
        command_tag="SELECT 2",
        affected_rows=2,
    )
    message = query_service_pb2.RunScopedQueryResponse.FromString(result_bytes(result, 10_000))
    assert [(column.name, column.type_name, column.type_oid) for column in message.columns] == [
        ("id", "int8", 20),
        ("tags", "text[]", 1009),
    ]
    assert [column.kind for column in message.columns] == [values_pb2.KIND_INT, values_pb2.KIND_ARRAY]
    assert [column.element_kind for column in message.columns] == [0, values_pb2.KIND_TEXT]
    assert list(message.data[0].ints) == [2**63 - 1, 0]
    assert message.data[0].nulls == b"\x02"
    assert (message.row_count, message.truncated, message.affected_rows) == (2, True, 2)
    assert message.command_tag == "SELECT 2"


def test_a_result_without_columns() -> None:
    result = ResultSet(
        columns=(), data=(), row_count=0, truncated=False, command_tag="DELETE 3", affected_rows=3
    )
    message = query_service_pb2.RunScopedQueryResponse.FromString(result_bytes(result, 100))
    assert (len(message.columns), message.command_tag, message.affected_rows) == (0, "DELETE 3", 3)


def test_the_limit_of_a_result_is_exact() -> None:
    size = len(result_bytes(integers(*range(500)), 10_000))
    assert len(result_bytes(integers(*range(500)), size)) == size
    with pytest.raises(UsherError) as caught:
        result_bytes(integers(*range(500)), size - 1)
    assert caught.value.reason is Reason.RESULT_TOO_LARGE
    assert caught.value.metadata == {"size": str(size), "limit": str(size - 1)}
    assert "ORDER BY" in caught.value.message
