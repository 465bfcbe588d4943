"""Text forms of parameters: what is read, and that the rest is refused without being shown."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.values import DATE_INFINITY, DATE_MINUS_INFINITY, SECONDS_INFINITY, SECONDS_MINUS_INFINITY
from sidecar.postgres import text_forms as forms


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (forms.parse_bool, "TRUE", True),
        (forms.parse_bool, " t ", True),
        (forms.parse_bool, "off", False),
        (forms.parse_int, "-9223372036854775808", -(2**63)),
        (forms.parse_int, "+007", 7),
        (forms.parse_int, "-" + "0" * 5000 + "7", -7),
        (forms.parse_int, "0" * 5001, 0),
        (forms.parse_float, "1e3", 1000.0),
        (forms.parse_float, "-Infinity", -math.inf),
        (forms.parse_float, "inf", math.inf),
        (forms.parse_float, ".5", 0.5),
        (forms.parse_float, "0e999", 0.0),
        (forms.parse_numeric, "-0.10", "-0.10"),
        (forms.parse_numeric, "NaN", "NaN"),
        (forms.parse_numeric, "1" * 500, "1" * 500),
        (forms.parse_bytes, "\\x", b""),
        (forms.parse_bytes, "\\x00Ff", b"\x00\xff"),
        (
            forms.parse_uuid,
            "A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11",
            bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ),
        (
            forms.parse_uuid,
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ),
        (forms.parse_date, "1970-01-02", 1),
        (forms.parse_date, "0001-01-01", datetime.date(1, 1, 1).toordinal() - 719_163),
        (forms.parse_date, "0001-12-31 BC", datetime.date(1, 1, 1).toordinal() - 719_164),
        (forms.parse_date, "infinity", DATE_INFINITY),
        (forms.parse_date, "-Infinity", DATE_MINUS_INFINITY),
        (forms.parse_date, "5874897-12-31", 2_145_042_905),
        (forms.parse_date, "4714-11-24 BC", -2_440_588),
        (forms.parse_time, "23:59", 86_340_000_000),
        (forms.parse_time, "00:00:00.5", 500_000),
        (forms.parse_time, "24:00:00", 86_400_000_000),
        (forms.parse_timestamp, "1970-01-01 00:00:01.000002", (1, 2)),
        (forms.parse_timestamp, "1969-12-31T23:59:59.9", (-1, 900_000)),
        (forms.parse_timestamp, "infinity", (SECONDS_INFINITY, 0)),
        (forms.parse_timestamptz, "1970-01-01T00:00:00Z", (0, 0)),
        (forms.parse_timestamptz, "1970-01-01 00:00:00+00", (0, 0)),
        (forms.parse_timestamptz, "1970-01-01 00:00:00-01:30", (5400, 0)),
        (forms.parse_timestamptz, "1970-01-01 00:00:00.25 +0130", (-5400, 250_000)),
        (forms.parse_timestamptz, "0044-03-15 12:00:00+00 BC", (-63_517_780_800, 0)),
        (forms.parse_timestamptz, "-infinity", (SECONDS_MINUS_INFINITY, 0)),
        (forms.parse_interval, "1 year 2 mons -3 days 04:05:06.789", (14, -3, 14_706_789_000)),
        (forms.parse_interval, "-1 years -2 mons +3 days -04:05:06", (-14, 3, -14_706_000_000)),
        (forms.parse_interval, "00:00:00", (0, 0, 0)),
        (forms.parse_interval, "-2562047788:00:54.775808", (0, 0, -(2**63))),
        (forms.parse_interval, "infinity", (2**31 - 1, 2**31 - 1, 2**63 - 1)),
    ],
)
def test_what_is_read(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (forms.parse_bool, ["", "maybe", "2", "tr"]),
        (forms.parse_int, ["", "1.0", "0x10", "1_000", "٣", "1e3", "9" * 5000, "--1"]),
        (forms.parse_float, ["", "1,5", "1e999", "-1e999", "1e-999", "0x1p3", "1_0", ".", "٣"]),
        (forms.parse_numeric, ["", "1,5", "0x1", "1 2", "e5", "1e", "infinit"]),
        (forms.parse_bytes, ["", "abc", "\\x0", "\\xzz", "\\000"]),
        (
            forms.parse_uuid,
            ["", "a0eea0ee", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b-4ef8bb6d6bb9bd380a11"],
        ),
        (
            forms.parse_date,
            ["", "today", "2024-02-30", "2023-02-29", "01/02/2024", "0000-01-01", "0000-01-01 BC"],
        ),
        (forms.parse_time, ["", "24:00:00.000001", "24:01", "23:60", "23:59:60", "12:00:00.1234567", "noon"]),
        (forms.parse_timestamp, ["", "now", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01 00:00:00+00"]),
        (
            forms.parse_timestamptz,
            ["", "now", "2024-01-01 00:00:00", "2024-01-01 00:00:00+16", "2024-01-01 00:00:00 Europe/Rome"],
        ),
        (forms.parse_interval, ["", "1 fortnight", "P1Y", "1 year2 mons", "00:60:00", "1 day 1 year"]),
    ],
)
def test_what_is_refused(parse: Callable[[str], Any], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"^it ") as caught:
            parse(text)
        assert len(text) < 3 or text not in str(caught.value)
        assert caught.value.__context__ is None


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
OFFSETS = st.integers(-15 * 60, 15 * 60).map(
    lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
)


# One year from either end, so that the offset never leads out of datetime's range.
MOMENTS = st.datetimes(
    min_value=datetime.datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the timezone
    max_value=datetime.datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=OFFSETS,
)


@given(MOMENTS)
def test_moments_agree_with_datetime(moment: datetime.datetime) -> None:
    utc = (moment - EPOCH) // datetime.timedelta(microseconds=1)
    assert forms.parse_timestamptz(moment.isoformat(" ")) == divmod(utc, 1_000_000)
    local = (moment.replace(tzinfo=datetime.UTC) - EPOCH) // datetime.timedelta(microseconds=1)
    assert forms.parse_timestamp(moment.replace(tzinfo=None).isoformat()) == divmod(local, 1_000_000)


@given(st.floats())
def test_floats_survive_their_shortest_text(value: float) -> None:
    parsed = forms.parse_float(repr(value))
    assert parsed == value or (math.isnan(parsed) and math.isnan(value))


PARSERS = [getattr(forms, name) for name in dir(forms) if name.startswith("parse_")]


@given(st.text(), st.sampled_from(PARSERS))
def test_no_text_makes_a_parser_fail_otherwise(text: str, parse: Callable[[str], Any]) -> None:
    with contextlib.suppress(ValueError):
        parse(text)
