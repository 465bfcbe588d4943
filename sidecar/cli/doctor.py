"""`usher doctor`: checks a deployment from end to end, with the settings of `usher serve`."""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import json
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from usher.v1 import token_service_pb2, token_service_pb2_grpc

from sidecar.cli import database_check
from sidecar.cli.connecting import add_credentials
from sidecar.cli.connecting import channel as connect
from sidecar.cli.options import add_settings, collected
from sidecar.cli.serve import missing_settings
from sidecar.config import Config
from sidecar.core.clock import SystemClock
from sidecar.core.diagnosis import Diagnosis, Verdict
from sidecar.core.errors import SettingsError

if TYPE_CHECKING:
    from sidecar.app.doctor import Asked

# sidecar.app is imported by the function that looks: it takes longer than all of a client verb's work.

_SECONDS: Final = 3.0
_TOKEN_SECONDS: Final = 60


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("doctor", help="check a deployment from end to end; exit code 1 for a failure")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    public = parser.add_argument_group("the key set, as the world sees it")
    public.add_argument("--jwks-url", default="", metavar="URL", help="its public URL (default: by issuer)")
    public.add_argument("--ca-file", type=Path, metavar="FILE", help="who signs its certificate, in PEM")
    public.add_argument(
        "--connect-to", default="", metavar="HOST:PORT", help="ask there instead of where its name leads"
    )
    running = parser.add_argument_group("the running sidecar")
    running.add_argument("--address", default="", metavar="ADDRESS", help="default: grpc_address")
    add_credentials(parser)
    audit = parser.add_argument_group("what `usher db check` looks for")
    audit.add_argument(
        "--admin-database-url",
        default=os.environ.get("USHER_ADMIN_DATABASE_URL", ""),
        metavar="URL",
        help="the database, as its owner (or the variable USHER_ADMIN_DATABASE_URL); without it none is",
    )
    database_check.add_to(parser)
    parser.set_defaults(run=_doctor)


def _doctor(chosen: argparse.Namespace) -> int:
    from sidecar.app.doctor import diagnose

    database_check.validate(chosen)
    config, wrong = collected(chosen)
    if not wrong and (missing := missing_settings(config)):
        wrong = [missing]
    asked = _asked(chosen, config, wrong)
    chosen.address = _reachable(chosen.address or config.grpc_address)
    with connect(chosen, checks_names=False) as channel:
        found = asyncio.run(diagnose(asked, _Running(channel, chosen.address), SystemClock()))
    counts = collections.Counter(one.verdict for one in found)
    if chosen.json:
        print(json.dumps({"checks": [dataclasses.asdict(one) for one in found]} | _counts(counts), indent=2))
    else:
        for one in found:
            print(line(one))
        print(", ".join(f"{number} {name}" for name, number in _counts(counts).items()))
    return int(counts[Verdict.FAILED] > 0)


def line(one: Diagnosis) -> str:
    """One line for the terminal."""
    text = f"{one.verdict:8} {one.check:17} {one.seen}" + (f" -> {one.remedy}" if one.remedy else "")
    return "".join(character if character.isprintable() else "?" for character in text)


def _counts(counts: collections.Counter[Verdict]) -> dict[str, int]:
    return {verdict.value: counts[verdict] for verdict in Verdict}


def _asked(chosen: argparse.Namespace, config: Config, wrong: Sequence[str]) -> Asked:
    from sidecar.app.doctor import Asked, url_of
    from sidecar.app.doctor_database import AuditAsked

    if chosen.jwks_url and url_of(chosen.jwks_url) is None:
        raise SettingsError("--jwks-url: give an https:// URL")
    if chosen.ca_file is not None:
        try:
            ssl.create_default_context(cafile=chosen.ca_file)
        except ssl.SSLError:
            raise SettingsError(f"--ca-file: {chosen.ca_file} holds no certificate in PEM") from None
        except OSError as error:
            raise SettingsError(f"--ca-file: {chosen.ca_file} cannot be read ({error.strerror})") from None
    return Asked(
        config=config,
        wrong=wrong,
        jwks_url=chosen.jwks_url,
        ca_file=chosen.ca_file,
        connect_to=_host_and_port(chosen.connect_to) if chosen.connect_to else None,
        audit=AuditAsked(
            database_url=chosen.admin_database_url, roles=chosen.role or (), accepted=chosen.accept
        ),
    )


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise SettingsError("--connect-to: give HOST:PORT, such as 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _reachable(address: str) -> str:
    """Where a sidecar that listens on every address is asked."""
    for everywhere, here in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
        if address.startswith(everywhere):
            return here + address.removeprefix(everywhere)
    return address


class _Running:
    """A running sidecar, asked by gRPC; see sidecar.app.doctor.Sidecar."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self._channel = channel
        self._known = not address.endswith(":0")

    async def health(self) -> str | None:
        """See Sidecar."""
        return await asyncio.to_thread(self._health) if self._known else None

    async def token(self, subject: str, audiences: Sequence[str]) -> tuple[str, str] | None:
        """See Sidecar."""
        return await asyncio.to_thread(self._token, subject, audiences)

    def _health(self) -> str | None:
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return None if error.code() in silent else str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def _token(self, subject: str, audiences: Sequence[str]) -> tuple[str, str] | None:
        request = token_service_pb2.IssueTokenRequest(
            subject=subject, audiences=audiences, ttl=Duration(seconds=_TOKEN_SECONDS)
        )
        stub = token_service_pb2_grpc.TokenServiceStub(self._channel)  # type: ignore[no-untyped-call]
        try:
            answer = stub.IssueToken(request, timeout=_SECONDS)
        except grpc.RpcError:
            return None  # whoever runs this may not be one of the policy's callers
        return answer.token, answer.kid
