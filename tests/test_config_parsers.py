"""Parsers of settings: durations, sizes, switches and addresses, and what they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import DECLARED, load
from sidecar.core.errors import SettingsError

UNITS = {"ms": Decimal("0.001"), "s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}


def parsed(name: str, text: str) -> Any:
    return DECLARED[name].parse(text)


@given(st.decimals(0, 99_999, places=3, allow_nan=False, allow_infinity=False), st.sampled_from(list(UNITS)))
def test_durations(number: Decimal, unit: str) -> None:
    assert parsed("statement_timeout", f"{number:f}{unit}") == float(number * UNITS[unit])


@given(st.integers(0, 10**6), st.sampled_from(["s", "m", "h", "d"]))
def test_whole_seconds(number: int, unit: str) -> None:
    assert parsed("token_ttl", f"{number}{unit}") == number * UNITS[unit]


def test_a_fraction_of_an_hour_is_exact() -> None:
    assert parsed("token_ttl", "1.1h") == 3960
    with pytest.raises(ValueError, match="whole seconds"):
        parsed("token_ttl", "1500ms")


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("B", 1), ("KiB", 1024), (" MiB", 1024**2)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    assert parsed("max_message_bytes", f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["true", "YES", "on", "1", " True "])
def test_switches_that_are_on(text: str) -> None:
    assert parsed("reflection", text) is True


@pytest.mark.parametrize("text", ["false", "No", "off", "0"])
def test_switches_that_are_off(text: str) -> None:
    assert parsed("reflection", text) is False


PORTS = st.integers(0, 65_535)
HOSTS = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
    | st.sampled_from(["localhost", "db-1.example", "0.0.0.0", "[::]", "a_b"])
)


@given(HOSTS, PORTS)
def test_addresses(host: str, port: int) -> None:
    address = f"{host}:{port}"
    assert parsed("grpc_address", address) == parsed("http_address", address) == address


@pytest.mark.parametrize("address", ["unix:/run/usher.sock", "unix:.usher/admin.sock", f"unix:/{'x' * 99}"])
def test_unix_addresses_are_for_grpc(address: str) -> None:
    assert parsed("grpc_address", address) == parsed("grpc_admin_address", address) == address
    with pytest.raises(ValueError, match="host:port"):
        parsed("http_address", address)


def test_only_the_admin_address_may_be_empty() -> None:
    assert parsed("grpc_admin_address", "") == ""
    for name in ("grpc_address", "http_address", "admin_http_address"):
        with pytest.raises(ValueError, match="host:port"):
            parsed(name, "")


REFUSED = {
    "statement_timeout": ["", "s", "-1s", "1 s", "1e3", "inf", "nan", "1w", "٣s", "1.s", ".5s", "9" * 400],
    "max_message_bytes": ["", "-1", "1KB", "1.5MiB", "0x10", "1 GiB", "٣", "9" * 5000],
    "max_rows": ["", "-1", "1.0", "1_000", "²", "٣", "9" * 10],
    "reflection": ["", "maybe", "2", "truee"],
    "algorithm": ["", "none", "es256", "HS256"],
    "log_format": ["JSON", "xml"],
    "dev_data_dir": ["", "a\0b"],
    "grpc_address": [
        "50051",
        ":50051",
        "localhost",
        "localhost:",
        "localhost:-1",
        "localhost:65536",
        "localhost:٣",
        "localhost:²",
        "localhost: 1",
        "::1:50051",
        "[::1]",
        "[::1:50051",
        "[1.2.3.4]:1",
        "[zz]:1",
        "http://localhost:1",
        "a b:1",
        "a/b:1",
        "unix:",
        f"unix:/{'x' * 100}",
        f"unix:/{'é' * 51}",
    ],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts]
)
def test_values_that_are_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"USHER_{name.upper()}": text}, {}, None)
    message = str(caught.value)
    assert f"does not fit {name}; expected " in message
    assert "invalid literal" not in message


@given(st.sampled_from(list(DECLARED)), st.text(max_size=30))
def test_no_text_is_a_fault(name: str, text: str) -> None:
    try:
        load({f"USHER_{name.upper()}": text}, {}, None)
    except SettingsError as error:
        assert name.partition("_")[0] in str(error)  # noqa: PT017 - most texts are refused, some are not
