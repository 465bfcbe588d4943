"""Talking to a running sidecar: the channel, claims on the command line, and errors in words."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import urllib.request
from typing import Any, Final

import grpc
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from usher.v1 import query_service_pb2

from sidecar.cli.connecting import add_credentials
from sidecar.config import DECLARED, Config
from sidecar.core.claims import custom_claims
from sidecar.core.errors import SettingsError

DEADLINE_SECONDS: Final = 30.0
FETCH_SECONDS: Final = 10.0

# gRPC's own words; they are not fit for the terminal.
_TLS_FAILED: Final = re.compile(r"(?i)ssl|tls|handshak|certificate|socket closed|end of tcp|connection reset")


class Failed(Exception):
    """A command that was used rightly and has bad news; the message is for the terminal."""


def add_address(parser: argparse.ArgumentParser, setting: str = "grpc_address") -> None:
    """Adds --address, whose default is the setting's own, and what proves who calls."""
    default = os.environ.get(f"USHER_{setting.upper()}") or getattr(Config(), setting)
    if setting == "grpc_admin_address" and not default:
        # Relative, as `usher dev` makes it: a socket's path has at most 108 bytes, whatever folder this is.
        default = f"unix:{os.environ.get('USHER_DEV_DATA_DIR') or Config().dev_data_dir}/admin.sock"
    parser.add_argument(
        "--address", default=default, help=f"{DECLARED[setting].help} (default: {default})", metavar="ADDRESS"
    )
    add_credentials(parser)


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


def claims(texts: list[str]) -> Struct:
    """The claims of `--claim` options as a message. Raises as claims_of."""
    struct = Struct()
    struct.update(claims_of(texts))
    return struct


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


def scope(chosen: argparse.Namespace) -> query_service_pb2.Scope:
    """The scope of --sub and --claim, or of --token. Raises SettingsError when neither or both are given."""
    if bool(chosen.sub) == bool(chosen.token):
        raise SettingsError("say as whom: --sub USER (with --claim NAME=VALUE), or --token TOKEN")
    if not chosen.token:
        return query_service_pb2.Scope(
            principal=query_service_pb2.Principal(subject=chosen.sub, claims=claims(chosen.claim))
        )
    if chosen.claim:
        raise SettingsError("--claim goes with --sub: a token has its claims")
    return query_service_pb2.Scope(token=chosen.token)


def fetched(url: str) -> bytes:
    """What is at an http:// or https:// URL. Raises Failed when that cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as response:  # noqa: S310 - callers check the scheme
            document: bytes = response.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"{url} cannot be fetched: {error}; is `usher serve` running there?") from None
    return document


def describe(error: grpc.RpcError, address: str) -> str:
    """A gRPC error in one line: code, reason, message; and what to do when the server did not answer."""
    if not isinstance(error, grpc.Call):
        return str(error)
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return f"{error.code().name} {info.reason}: {error.details()}"
    if error.code() is grpc.StatusCode.UNAVAILABLE and _TLS_FAILED.search(error.details() or ""):
        return (
            f"{address} did not take the connection: compare TLS on both sides; --tls-ca must hold who "
            "signed the sidecar's certificate, and it may ask for --tls-cert"
        )
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return f"nothing answers at {address}; is usher running there? Choose another with --address"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return (
            f"{address} does not serve this; `usher keys` and the deny list need the admin address, all else "
            "the other one"
        )
    return f"{error.code().name}: {error.details()}"
