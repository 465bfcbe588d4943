"""How a client verb reaches the sidecar: plain or by TLS, with a certificate or a bearer key of its own."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import usher

from sidecar.cli.progress import waiting
from sidecar.config import check_names, is_local
from sidecar.core.errors import SettingsError

KEY_VARIABLE: Final = "USHER_KEY"

_MAX_MESSAGE: Final = 512 * 1024**2
_OPTIONS: Final = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.enable_http_proxy", 0))


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Adds --tls, --tls-ca, --tls-cert, --tls-key and --key."""
    group = parser.add_argument_group("who is calling whom")
    group.add_argument(
        "--tls",
        action="store_true",
        help="use TLS; an authority that this system trusts has signed the sidecar's certificate",
    )
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


@contextlib.contextmanager
def client(
    chosen: argparse.Namespace, address: str | None = None, *, shows: bool = True
) -> Iterator[usher.SyncClient]:
    """The client of the sidecar at --address. Raises SettingsError for options that do not go together.

    It tries once: who waits at a terminal is told at once, and scripts repeat as they see fit. `shows` is
    false for who shows how it goes itself.
    """
    address = address or chosen.address
    check_names(os.environ)
    options = _checked(chosen, address)
    with (
        usher.SyncClient(
            address,
            tls=options["tls"],
            tls_ca=options["ca"],
            tls_cert=options["cert"],
            tls_key=options["private_key"],
            key=options["bearer"] or None,
            timeout=chosen.timeout,
            retries=0,
            json_text=True,
        ) as made,
        waiting(f"waiting for {address}") if shows else contextlib.nullcontext(),
    ):
        yield made


@contextlib.contextmanager
def channel(
    chosen: argparse.Namespace, address: str | None = None, *, checks_names: bool = True
) -> Iterator[grpc.Channel]:
    """A channel to the same, for services that the client does not know. Raises as `client`.

    `checks_names` is false for who has looked at the names of variables itself.
    """
    address = address or chosen.address
    if "," in address:
        raise SettingsError("--address: this asks one sidecar; give one address")
    if checks_names:
        check_names(os.environ)
    options = _checked(chosen, address)
    if options["tls"]:
        credentials = grpc.ssl_channel_credentials(options["ca"], options["private_key"], options["cert"])
        made = grpc.secure_channel(address, credentials, options=_OPTIONS)
    else:
        made = grpc.insecure_channel(address, options=_OPTIONS)
    if options["bearer"]:
        made = grpc.intercept_channel(made, _Bearer(options["bearer"]))
    with made, waiting(f"waiting for {address}"):
        yield made


def _checked(chosen: argparse.Namespace, address: str) -> dict[str, Any]:
    bearer = chosen.key or os.environ.get(KEY_VARIABLE, "")
    secure = bool(chosen.tls or chosen.tls_ca)
    if not address.isprintable() or not address.strip():
        raise SettingsError("--address: write host:port, or unix:/path/of/socket")
    if bearer and not (bearer.isascii() and bearer.isprintable()):
        raise SettingsError(f"--key or {KEY_VARIABLE}: it holds characters that no key has")
    if bool(chosen.tls_cert) != bool(chosen.tls_key):
        raise SettingsError("--tls-cert and --tls-key: give both")
    if chosen.tls_cert and not secure:
        raise SettingsError("--tls-cert needs --tls-ca or --tls")
    if bearer and not secure and not all(map(is_local, address.split(","))):
        raise SettingsError("--key is sent to another machine by TLS only; give --tls-ca or --tls")
    return {
        "tls": secure,
        "ca": _read("--tls-ca", chosen.tls_ca),
        "cert": _read("--tls-cert", chosen.tls_cert),
        "private_key": _read("--tls-key", chosen.tls_key),
        "bearer": bearer,
    }


def _read(option: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
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
