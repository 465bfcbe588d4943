"""Where a client connects to, and what proves who calls: shared by both clients."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from usher.errors import invalid

OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 512 * 1024**2),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name how long an attempt may take
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 1),
)
_IN_TURN: Final = '{"loadBalancingConfig": [{"round_robin": {}}]}'
_TARGET: Final = re.compile(r"(?:\[([\da-fA-F:.]+)\]|([^\s:/?#@\[\]]+)):(\d{1,5})")


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """What a channel is made of, checked."""

    target: str
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...]
    """Goes with every call."""
    options: tuple[tuple[str, str | int], ...]


def connection(
    target: str | None,
    *,
    tls: bool,
    tls_ca: bytes | None,
    tls_cert: bytes | None,
    tls_key: bytes | None,
    key: str | None,
) -> Connection:
    """How to connect, as a client is told. Raises UsherError CLIENT_INVALID for what cannot work, and for a
    key that others would overhear."""
    target = target or os.environ.get("USHER_ADDRESS") or "127.0.0.1:50051"
    secure = tls or any(pem is not None for pem in (tls_ca, tls_cert, tls_key))
    addresses = target.split(",")
    hosts = [_host(address) for address in addresses]
    options: tuple[tuple[str, str | int], ...] = OPTIONS
    if len(addresses) > 1:
        target = f"{_scheme(hosts, secure=secure)}:{','.join(map(_without_scheme, addresses))}"
        authority = addresses[0] if hosts[0] else "localhost"
        options += (("grpc.service_config", _IN_TURN), ("grpc.default_authority", authority))
    credentials = _credentials(tls_ca, tls_cert, tls_key) if secure else None
    return Connection(target, credentials, _bearer(key, hosts, secure=secure), options)


def _host(address: str) -> str:
    """The host of an address, "" for a Unix socket."""
    if address.startswith("unix:") and len(address) > len("unix:"):
        return ""
    found = _TARGET.fullmatch(address)
    if found is None or int(found[3]) > 0xFFFF:
        raise invalid("target: write host:port or unix:/path, or several with commas between")
    return found[1] or found[2]


def _scheme(hosts: Sequence[str], *, secure: bool) -> str:
    """How gRPC calls several addresses (its documentation, "gRPC Name Resolution"): it resolves no names
    there, and by TLS it compares one name with all certificates."""
    try:
        schemes = {f"ipv{ipaddress.ip_address(host).version}" if host else "unix" for host in hosts}
    except ValueError:
        schemes = set()
    if len(schemes) != 1 or (secure and len(set(hosts)) > 1):
        raise invalid(
            "target: several are all IPv4, all IPv6 or all Unix sockets, without names; by TLS all of one IP "
            "address"
        )
    return schemes.pop()


def _without_scheme(address: str) -> str:
    return re.sub("^/+", "/", address.removeprefix("unix:"))


def _credentials(ca: bytes | None, cert: bytes | None, private_key: bytes | None) -> grpc.ChannelCredentials:
    # gRPC would end the whole process for one without the other.
    if (cert is None) != (private_key is None):
        raise invalid("tls_cert, tls_key: give both")
    for name, pem, kind in (
        ("tls_ca", ca, b"CERTIFICATE-----"),
        ("tls_cert", cert, b"CERTIFICATE-----"),
        ("tls_key", private_key, b"PRIVATE KEY-----"),
    ):
        if pem is not None and not (isinstance(pem, bytes) and b"-----BEGIN" in pem and kind in pem):
            raise invalid(f"{name}: it must be PEM, as bytes")
    return grpc.ssl_channel_credentials(ca, private_key, cert)


def _bearer(key: str | None, hosts: Sequence[str], *, secure: bool) -> tuple[tuple[str, str], ...]:
    if key is None:
        return ()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise invalid("key: it holds characters that no key has")
    if not secure and not all(map(_is_local, hosts)):
        raise invalid("key: it is sent to another machine by TLS only; give tls_ca")
    return (("authorization", f"Bearer {key}"),)


def _is_local(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
