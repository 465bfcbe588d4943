"""Addresses to listen on: what is one, and who can reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import re


def is_host(text: str) -> bool:
    """Whether it is a name, an IPv4 address, or an IPv6 address in brackets."""
    if not text.startswith("["):
        return re.fullmatch(r"[A-Za-z0-9._-]+", text) is not None
    try:
        ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return text.endswith("]")


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address."""
    if not address or address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def canonical(address: str) -> str:
    """One text for all spellings of an address: localhost is 127.0.0.1, which is what clients try too."""
    if not address or address.startswith("unix:"):
        return address
    host, _, port = address.rpartition(":")
    host = host.strip("[]").lower()
    with contextlib.suppress(ValueError):  # another name
        host = "127.0.0.1" if host == "localhost" else ipaddress.ip_address(host).compressed
    return f"{host}:{int(port)}"


def takes_any_port(address: str) -> bool:
    """Whether the port is 0, which becomes a free one at the start."""
    return not address.startswith("unix:") and canonical(address).endswith(":0")


def is_wildcard(address: str) -> bool:
    """Whether the address stands for every address of the machine."""
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_unspecified
    except ValueError:
        return False
