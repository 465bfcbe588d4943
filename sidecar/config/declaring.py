"""What a setting is: its help, its default, and the parser from text to its value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar

from sidecar.config.addresses import is_host

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said of a setting besides its name and default."""

    help: str
    parse: Callable[[str], Any]
    secret: bool = False
    weakens: str = ""
    """For a switch that weakens safety: what happens when it is on."""


_UNITS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}


def duration(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)?", text.strip())
    if match is None:
        raise ValueError("a duration such as 500ms, 30s, 15m, 24h or 7d")
    # By decimals: 1.1h are 3960 s, not a rounding error more.
    return float(Decimal(match[1]) * _UNITS[match[2] or "s"])


def whole_seconds(text: str) -> int:
    seconds = duration(text)
    if not seconds.is_integer():
        raise ValueError("whole seconds")
    return int(seconds)


def size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12}) *(B|KiB|MiB)?", text.strip())
    if match is None:
        raise ValueError("a size such as 65536, 64KiB or 4MiB")
    return int(match[1]) * {"B": 1, "KiB": 1024, "MiB": 1024**2}[match[2] or "B"]


def integer(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ValueError("a whole number")
    return int(text)


def switch(text: str) -> bool:
    known = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if text.strip().lower() not in known:
        raise ValueError("true or false")
    return known[text.strip().lower()]


def address(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # gRPC would take %41 for A.
        if not path or "%" in path or len(path.encode()) > 100:
            raise ValueError("unix: and a path of at most 100 bytes, without %")
        return text
    host, _, port = text.rpartition(":")
    if not is_host(host) or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("host:port, such as 127.0.0.1:50051 or [::1]:50051, or unix:/path")
    return text


def tcp_address(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError("host:port, such as 127.0.0.1:8080")
    return address(text)


def file_mode(text: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("permissions in octal, such as 0600 or 0660")
    return text.zfill(4)


def optional_address(text: str) -> str:
    return address(text) if text else ""


def folder(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("the path of a folder")
    return text


def optional_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path, or nothing")
    return text


def agent_names(text: str) -> str:
    """In lower case, without blanks: products of User-Agent (RFC 9110 sections 10.1.5 and 5.6.2)."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    fits = all(re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}", name) for name in names)
    # The last two are what everyone else is counted as.
    if not fits or len(set(names)) < len(names) or len(names) > 16 or {"browser", "other", "*"} & set(names):
        raise ValueError("at most 16 names such as neon-proxy, separated by commas; not browser or other")
    return ",".join(names)


def origins(text: str) -> str:
    """Without blanks: origins as browsers write them, https://app.example.org (RFC 6454 section 6.2)."""
    listed = [origin.strip().lower() for origin in text.split(",") if origin.strip()]
    if not all(
        re.fullmatch(r"https?://[a-z0-9._-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", origin)
        for origin in listed
    ):
        raise ValueError(
            "origins such as https://app.example.org, separated by commas; there is no * for all"
        )
    return ",".join(listed)


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return text

    return parse


def setting(
    default: T, help: str, parse: Callable[[str], T], *, secret: bool = False, weakens: str = ""
) -> T:
    field: Any = dataclasses.field(
        default=default,
        metadata={"declared": Declared(help=help, parse=parse, secret=secret, weakens=weakens)},
    )
    return field  # type: ignore[no-any-return]
