"""Text forms of values that travel to Postgres in binary form: what a text parameter may say.

Read are the forms that Postgres itself prints (with DateStyle ISO and IntervalStyle postgres), ISO 8601 and
RFC 3339 for dates and times. Not read is what Postgres would round, guess or compute: "now", an offset on a
timestamp without time zone, more than six fractional digits. No error shows the text.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Final

from sidecar.core.values import (
    DATE_INFINITY,
    DATE_MINUS_INFINITY,
    SECONDS_INFINITY,
    SECONDS_MINUS_INFINITY,
)

_SPACE: Final = " \t\n\r\v\f"

_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})
_INT: Final = re.compile(r"([+-]?)0*([0-9]{1,19})")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"nan|[+-]?inf(inity)?", re.IGNORECASE)
_BYTES: Final = re.compile(r"\\x((?:[0-9a-fA-F]{2})*)")
_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}"
)

_DATE_PART: Final = r"(?P<year>[0-9]{4,7})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
_TIME_PART: Final = (
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]{1,6}))?)?"
)
_OFFSET_PART: Final = (
    r"(?P<offset>[Zz]|(?P<sign>[+-])(?P<off_hour>[0-9]{2})"
    r"(:?(?P<off_minute>[0-9]{2})(:(?P<off_second>[0-9]{2}))?)?)"
)
_ERA_PART: Final = r"(?P<era> BC| AD)?"
_DATE: Final = re.compile(_DATE_PART + _ERA_PART)
_TIME: Final = re.compile(_TIME_PART)
_TIMESTAMP: Final = re.compile(f"{_DATE_PART}[Tt ]{_TIME_PART}{_ERA_PART}")
_TIMESTAMPTZ: Final = re.compile(f"{_DATE_PART}[Tt ]{_TIME_PART} ?{_OFFSET_PART}{_ERA_PART}")
_INTERVAL: Final = re.compile(
    r"((?P<years>[+-]?[0-9]{1,9}) years?( |$))?"
    r"((?P<months>[+-]?[0-9]{1,10}) mons?( |$))?"
    r"((?P<days>[+-]?[0-9]{1,10}) days?( |$))?"
    r"((?P<sign>[+-]?)(?P<hours>[0-9]{2,10}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])"
    r"(\.(?P<fraction>[0-9]{1,6}))?)?"
)

_DAYS_IN_400_YEARS: Final = 146_097
_UNIX_EPOCH_ORDINAL: Final = datetime.date(1970, 1, 1).toordinal()

INTERVAL_INFINITY: Final = (2**31 - 1, 2**31 - 1, 2**63 - 1)
INTERVAL_MINUS_INFINITY: Final = (-(2**31), -(2**31), -(2**63))


def parse_bool(text: str) -> bool:
    """true/t/yes/y/on/1 and their opposites, in any case (documentation, section 8.6)."""
    word = text.strip(_SPACE).lower()
    if word not in _TRUE and word not in _FALSE:
        raise ValueError("it is neither true nor false")
    return word in _TRUE


def parse_int(text: str) -> int:
    """Decimal digits with an optional sign."""
    match = _INT.fullmatch(text.strip(_SPACE))
    if match is None:
        raise ValueError("it is not a whole number in decimal digits")
    # Without its leading zeros: int() has a limit of its own on the number of digits.
    return int(match[1] + match[2])


def parse_float(text: str) -> float:
    """A decimal number, with an exponent or not, NaN, or an infinity; the nearest double is taken."""
    number = text.strip(_SPACE)
    if _NOT_FINITE.fullmatch(number):
        return float(number)
    if not _DECIMAL.fullmatch(number):
        raise ValueError("it is not a number")
    value = float(number)
    mantissa = re.split("[eE]", number)[0]
    if math.isinf(value) or (value == 0 and re.search("[1-9]", mantissa)):
        raise ValueError("it is out of range")
    return value


def parse_numeric(text: str) -> str:
    """A decimal number, NaN or an infinity; its text as it is, so that no digit is lost."""
    number = text.strip(_SPACE)
    if not _NOT_FINITE.fullmatch(number) and not _DECIMAL.fullmatch(number):
        raise ValueError("it is not a decimal number")
    return number


def parse_bytes(text: str) -> bytes:
    """The hex format (documentation, section 8.4.1): \\x and two digits a byte."""
    match = _BYTES.fullmatch(text.strip(_SPACE))
    if match is None:
        raise ValueError(r"it is not \x followed by pairs of hexadecimal digits")
    return bytes.fromhex(match[1])


def parse_uuid(text: str) -> bytes:
    """32 hexadecimal digits, with dashes after the 8th, 12th, 16th and 20th or without any."""
    digits = text.strip(_SPACE)
    if not _UUID.fullmatch(digits):
        raise ValueError("it is not a UUID such as a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    return bytes.fromhex(digits.replace("-", ""))


def parse_date(text: str) -> int:
    """YYYY-MM-DD, with " BC" or " AD" behind it, or an infinity; in days since 1970-01-01."""
    word = text.strip(_SPACE)
    if word.lower() in ("infinity", "+infinity"):
        return DATE_INFINITY
    if word.lower() == "-infinity":
        return DATE_MINUS_INFINITY
    match = _DATE.fullmatch(word)
    if match is None:
        raise ValueError("it is not a date such as 2030-12-31")
    return _days(match)


def parse_time(text: str) -> int:
    """HH:MM, HH:MM:SS or with up to six fractional digits; in microseconds. 24:00:00 is the end of a day."""
    match = _TIME.fullmatch(text.strip(_SPACE))
    if match is None:
        raise ValueError("it is not a time such as 23:59:59.999999")
    seconds, micros = _time_of_day(match)
    return seconds * 1_000_000 + micros


def parse_timestamp(text: str) -> tuple[int, int]:
    """Date and time without an offset, or an infinity; (seconds since 1970-01-01, microseconds)."""
    return _parse_moment(text, _TIMESTAMP, "a timestamp without an offset such as 2030-12-31 23:59:59.999999")


def parse_timestamptz(text: str) -> tuple[int, int]:
    """Date and time with an offset or Z, or an infinity; (seconds since 1970-01-01 UTC, microseconds)."""
    return _parse_moment(text, _TIMESTAMPTZ, "a timestamp with an offset such as 2030-12-31T23:59:59.999999Z")


def parse_interval(text: str) -> tuple[int, int, int]:
    """As Postgres prints it, "1 year 2 mons -3 days 04:05:06.789", or an infinity; (months, days, micros)."""
    words = text.strip(_SPACE)
    if words.lower() == "infinity":
        return INTERVAL_INFINITY
    if words.lower() == "-infinity":
        return INTERVAL_MINUS_INFINITY
    match = _INTERVAL.fullmatch(words)
    if match is None or not words:
        raise ValueError("it is not an interval such as 1 year 2 mons 3 days 04:05:06.789")
    micros = 0
    if match["hours"]:
        seconds = int(match["hours"]) * 3600 + int(match["minutes"]) * 60 + int(match["seconds"])
        micros = seconds * 1_000_000 + _micros(match["fraction"])
    return (
        int(match["years"] or 0) * 12 + int(match["months"] or 0),
        int(match["days"] or 0),
        -micros if match["sign"] == "-" else micros,
    )


def _parse_moment(text: str, pattern: re.Pattern[str], expected: str) -> tuple[int, int]:
    words = text.strip(_SPACE)
    if words.lower() in ("infinity", "+infinity"):
        return SECONDS_INFINITY, 0
    if words.lower() == "-infinity":
        return SECONDS_MINUS_INFINITY, 0
    match = pattern.fullmatch(words)
    if match is None:
        raise ValueError(f"it is not {expected}")
    seconds, micros = _time_of_day(match)
    return _days(match) * 86_400 + seconds - _offset_seconds(match), micros


def _days(match: re.Match[str]) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, which Postgres extends without limit both ways."""
    year = int(match["year"])
    if year == 0:
        raise ValueError("it has a year 0")
    if match["era"] == " BC":
        year = 1 - year  # the year before 1 AD is 1 BC
    # The calendar repeats every 400 years, and datetime knows the first 400.
    cycles, year_of_cycle = divmod(year - 1, 400)
    try:
        date = datetime.date(year_of_cycle + 1, int(match["month"]), int(match["day"]))
    except ValueError:
        date = None
    if date is None:
        raise ValueError("it has a day that its month does not have")
    return date.toordinal() - _UNIX_EPOCH_ORDINAL + cycles * _DAYS_IN_400_YEARS


def _time_of_day(match: re.Match[str]) -> tuple[int, int]:
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    micros = _micros(match["fraction"])
    seconds = hour * 3600 + minute * 60 + second
    if hour > 24 or minute > 59 or second > 59 or (seconds, micros) > (86_400, 0):
        raise ValueError("it has a time of day beyond 24:00:00")
    return seconds, micros


def _offset_seconds(match: re.Match[str]) -> int:
    groups = match.groupdict()
    if not groups.get("sign"):  # Z, or a pattern without an offset
        return 0
    hours, minutes = int(groups["off_hour"]), int(groups["off_minute"] or 0)
    seconds = int(groups["off_second"] or 0)
    if hours > 15 or minutes > 59 or seconds > 59:  # Postgres' own limit
        raise ValueError("it has an offset of 16 hours or more")
    total = hours * 3600 + minutes * 60 + seconds
    return -total if groups["sign"] == "-" else total


def _micros(fraction: str | None) -> int:
    return int((fraction or "").ljust(6, "0"))
