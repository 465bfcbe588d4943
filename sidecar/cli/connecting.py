"""How a client verb reaches the sidecar: plain or by TLS, with a certificate or a bearer key of its own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc

from sidecar.config import is_local
from sidecar.core.errors import SettingsError

KEY_VARIABLE: Final = "USHER_KEY"

_MAX_MESSAGE: Final = 512 * 1024**2
_OPTIONS: Final = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.enable_http_proxy", 0))


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Adds --tls-ca, --tls-cert, --tls-key and --key."""
    group = parser.add_argument_group("who is calling whom")
    group.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="use TLS; who signs the sidecar's certificate, in PEM"
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="a client certificate, in PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="the key of --tls-cert, in PEM")
    group.add_argument(
        "--key",
        metavar="KEY",
        help=f"a bearer key or service-account token; better in the variable {KEY_VARIABLE}, which others "
        "cannot see",
    )


def channel(chosen: argparse.Namespace) -> grpc.Channel:
    """A channel to the sidecar at --address. Raises SettingsError for options that do not go together."""
    bearer = chosen.key or os.environ.get(KEY_VARIABLE, "")
    if bearer and not (bearer.isascii() and bearer.isprintable()):
        raise SettingsError(f"--key or {KEY_VARIABLE}: it holds characters that no key has")
    if bool(chosen.tls_cert) != bool(chosen.tls_key):
        raise SettingsError("--tls-cert and --tls-key: give both")
    if chosen.tls_cert and not chosen.tls_ca:
        raise SettingsError("--tls-cert needs --tls-ca")
    if bearer and not chosen.tls_ca and not is_local(chosen.address):
        raise SettingsError("--key is sent to another machine by TLS only; give --tls-ca")
    made = _plain_or_secure(chosen)
    return grpc.intercept_channel(made, _Bearer(bearer)) if bearer else made


def _plain_or_secure(chosen: argparse.Namespace) -> grpc.Channel:
    if not chosen.tls_ca:
        return grpc.insecure_channel(chosen.address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        _read("--tls-ca", chosen.tls_ca),
        _read("--tls-key", chosen.tls_key) if chosen.tls_key else None,
        _read("--tls-cert", chosen.tls_cert) if chosen.tls_cert else None,
    )
    return grpc.secure_channel(chosen.address, credentials, options=_OPTIONS)


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{option}: {path} cannot be read ({error.strerror})") from None


class _Details(grpc.ClientCallDetails):
    """A call's details with other metadata."""

    def __init__(self, before: grpc.ClientCallDetails, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.method = before.method
        self.timeout = before.timeout
        self.metadata = metadata
        self.credentials = before.credentials
        self.wait_for_ready = before.wait_for_ready
        self.compression = before.compression


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    """Sends the bearer credential with every call."""

    def __init__(self, credential: str) -> None:
        self._entry = ("authorization", f"Bearer {credential}")

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        """Adds it to the call's metadata."""
        return continuation(_Details(details, (*(details.metadata or ()), self._entry)), request)
