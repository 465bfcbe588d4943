"""Where a client connects to, and what proves who calls: shared by both clients."""

from __future__ import annotations

import ipaddress
import os
import re
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
_TARGET: Final = re.compile(r"(?:\[([\da-fA-F:.]+)\]|([^\s:/?#@\[\]]+)):(\d{1,5})")


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """What a channel is made of, checked."""

    target: str
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...]
    """Goes with every call."""


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
    host = _host(target)
    secure = tls or any(pem is not None for pem in (tls_ca, tls_cert, tls_key))
    credentials = _credentials(tls_ca, tls_cert, tls_key) if secure else None
    return Connection(target, credentials, _bearer(key, host, secure=secure))


def _host(target: str) -> str:
    """The host of the target, "" for a Unix socket."""
    if target.startswith("unix:") and len(target) > len("unix:"):
        return ""
    found = _TARGET.fullmatch(target)
    if found is None or int(found[3]) > 0xFFFF:
        raise invalid("target: write host:port or unix:/path")
    return found[1] or found[2]


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


def _bearer(key: str | None, host: str, *, secure: bool) -> tuple[tuple[str, str], ...]:
    if key is None:
        return ()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise invalid("key: it holds characters that no key has")
    if not secure and not _is_local(host):
        raise invalid("key: it is sent to another machine by TLS only; give tls_ca")
    return (("authorization", f"Bearer {key}"),)


def _is_local(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
