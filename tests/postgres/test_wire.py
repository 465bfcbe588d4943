"""Messages byte for byte (PostgreSQL documentation, "Message Formats")."""

from __future__ import annotations

from sidecar.postgres.wire import Step, cells, describe


def test_a_step_is_parsed_bound_and_executed_unnamed() -> None:
    assert Step(sql="SELECT $1", arguments=("\u00f6",)).messages() == (
        b"P\0\0\0\x11\0SELECT $1\0\0\0B\0\0\0\x12\0\0\0\0\0\x01\0\0\0\x02\xc3\xb6\0\0E\0\0\0\x09\0\0\0\0\0"
    )


def test_a_description_names_the_types_of_parameters() -> None:
    assert describe("X", (23, 2**32 - 1)) == (
        b"P\0\0\0\x11\0X\0\0\x02\0\0\0\x17\xff\xff\xff\xffD\0\0\0\x06S\0"
    )


def test_a_row_is_read_back() -> None:
    row = b"\0\4\0\0\0\1a\xff\xff\xff\xff\0\0\0\0\0\0\0\2bc"
    assert cells(row) == (b"a", None, b"", b"bc")
