"""Talking to a running sidecar: the address, claims on the command line, and errors in words."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import sys
import urllib.request
from typing import Any, Final

import usher

from sidecar.cli.connecting import add_credentials
from sidecar.cli.progress import waiting
from sidecar.config import DECLARED, Config
from sidecar.config.declaring import duration
from sidecar.core.claims import custom_claims
from sidecar.core.errors import SettingsError

DEADLINE_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 86_400.0

# gRPC's own words; they are not fit for the terminal.
_NEVER_CONNECTED: Final = (
    "failed to connect",
    "connections to all backends failing",  # of several addresses
    "errors resolving",
    "name resolution",
)
_TLS_FAILED: Final = re.compile(r"(?i)ssl|tls|handshak|certificate|socket closed|end of tcp|connection reset")


class Failed(Exception):
    """A command that was used rightly and has bad news; the message is for the terminal."""


def add_address(
    parser: argparse.ArgumentParser, setting: str = "grpc_address", timeout: float = DEADLINE_SECONDS
) -> None:
    """Adds --address, whose default is the clients' or the setting's own, --timeout, and who calls."""
    default = default_address(setting)
    parser.add_argument(
        "--address", default=default, help=f"{DECLARED[setting].help} (default: {default})", metavar="ADDRESS"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=timeout,
        metavar="DURATION",
        help=f"how long to wait for the answer, such as 500ms, 90s or 2m (default: {timeout:g}s)",
    )
    add_credentials(parser)


def default_address(setting: str) -> str:
    """Where a client verb looks for the sidecar unless it is told."""
    given = os.environ.get(f"USHER_{setting.upper()}", "")
    if setting == "grpc_admin_address":
        # Relative, as `usher dev` makes it: a socket's path has at most 108 bytes, whatever folder this is.
        folder = os.environ.get("USHER_DEV_DATA_DIR") or Config().dev_data_dir
        return given or f"unix:{folder}/admin.sock"
    return os.environ.get("USHER_ADDRESS") or given or str(getattr(Config(), setting))


def seconds(text: str) -> float:
    """A duration on the command line, in seconds. Raises argparse.ArgumentTypeError."""
    try:
        found = duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {error}") from None
    if not 0 < found <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError("expected more than nothing, and at most a day")
    return found


def standard_input() -> str:
    """All of standard input. Raises SettingsError unless there is one and it holds UTF-8 text."""
    if sys.stdin is None:  # as it is when the shell closed it
        raise SettingsError("there is no standard input to read from")
    try:
        text = sys.stdin.read()
        text.encode()  # in the C locale Python lets other bytes pass, as surrogates (PEP 540)
    except UnicodeError:
        raise SettingsError("standard input is not UTF-8 text") from None
    return text.removeprefix("\ufeff")


def add_json(parser: argparse.ArgumentParser, help: str = "print the answer as JSON") -> None:
    """Adds --json, which also makes a refusal JSON, on standard error."""
    parser.add_argument("--json", action="store_true", help=help)


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Adds --sub, --claim and --token: as whom the statement runs."""
    parser.add_argument("--sub", help="the end user: the sub claim")
    add_claims(parser)
    parser.add_argument("--token", help="a token issued earlier, instead of --sub and --claim")


def add_claims(parser: argparse.ArgumentParser) -> None:
    """Adds --claim."""
    parser.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help='a custom claim; VALUE is text, or JSON when NAME ends in ":" (permissions:=["read"])',
    )


def claims_of(texts: list[str]) -> dict[str, Any]:
    """The claims of `--claim` options.

    Raises SettingsError for one that is not NAME=VALUE, and UsherError as core.claims for one that no token
    can hold: a Struct would round a large number before the server sees it.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.rstrip(":"):
            raise SettingsError("--claim: write NAME=VALUE, or NAME:=JSON")
        if not name.endswith(":"):
            found[name] = value
            continue
        try:
            found[name.removesuffix(":")] = json.loads(value)
        except (ValueError, RecursionError):
            raise SettingsError(f"--claim {name}=: the value is not JSON; quote it for the shell") from None
    return custom_claims(found)


def scope(chosen: argparse.Namespace, client: usher.SyncClient) -> usher.SyncScope:
    """The scope of --sub and --claim, or of --token."""
    if chosen.token:
        return client.with_token(chosen.token)
    return client.as_user(chosen.sub, claims_of(chosen.claim))


def check_scope(chosen: argparse.Namespace) -> None:
    """Raises SettingsError unless there is either --sub, with claims that can be sent, or --token."""
    if bool(chosen.sub) == bool(chosen.token):
        raise SettingsError("say as whom: --sub USER (with --claim NAME=VALUE), or --token TOKEN")
    if chosen.token and chosen.claim:
        raise SettingsError("--claim goes with --sub: a token has its claims")


def fetched(url: str, timeout: float) -> bytes:
    """What is at an http:// or https:// URL. Raises Failed when that cannot be had."""
    try:
        with (
            waiting("fetching the published keys"),
            urllib.request.urlopen(url, timeout=timeout) as response,  # noqa: S310 - callers check the scheme
        ):
            document: bytes = response.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"{url} cannot be fetched: {error}; is `usher serve` running there?") from None
    return document


def describe(error: usher.UsherError, chosen: argparse.Namespace) -> str:
    """An error in one line: code, reason, message; and what to do when the server did not answer."""
    address, said = chosen.address, error.message
    streams = getattr(chosen, "stream", False)
    if not error.reason.startswith("CLIENT_"):
        return f"{error.code} {error.reason}: {said}"
    if error.reason == "CLIENT_INVALID":
        return said
    if error.reason == "CLIENT_DEADLINE" and streams:
        return f"not all rows came from {address} within {chosen.timeout:g} s; --timeout gives them longer"
    if error.reason == "CLIENT_DEADLINE":
        return (
            f"no answer from {address} within {chosen.timeout:g} s; --timeout gives it longer; a statement "
            "was cancelled unless it had already committed: look before you repeat a write"
        )
    never_connected = said.lower().startswith(_NEVER_CONNECTED)
    if error.reason == "CLIENT_UNREACHABLE" and never_connected and _TLS_FAILED.search(said):
        return (
            f"{address} did not take the connection: compare TLS on both sides; --tls-ca must hold who "
            "signed the sidecar's certificate, and it may ask for --tls-cert"
        )
    if error.reason == "CLIENT_UNREACHABLE" and never_connected:
        return f"nothing answers at {address}; is usher running there? Choose another with --address"
    if error.reason in ("CLIENT_UNREACHABLE", "CLIENT_CANCELLED"):
        known = "whether a statement was done is not known: look before you repeat a write"
        return (
            f"the connection to {address} ended before the answer came: usher stopped there, or what lies "
            f"between cut it; {'not all rows came: run it again' if streams else known}"
        )
    if error.code == "UNIMPLEMENTED":
        return (
            f"{address} does not serve this; `usher keys` and the deny list need the admin address, all else "
            "the other one"
        )
    return f"{error.code}: {said}"
