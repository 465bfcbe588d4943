"""`usher health`: asks a running sidecar by grpc.health.v1; for container probes."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.cli import remote
from sidecar.cli.connecting import channel as connect

_PROBE_SECONDS: Final = 3.0


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "health",
        help="ask whether a running sidecar serves; exit code 0 when it does",
        description="Asks whether a running sidecar serves, for container probes; see also `usher status`.",
    )
    parser.add_argument("--service", default="", help="a service such as usher.v1.TokenService; empty: all")
    remote.add_json(parser)
    remote.add_address(parser, timeout=_PROBE_SECONDS)
    parser.set_defaults(run=_health)


def _health(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        status = status_of(channel, chosen.service, chosen.timeout)
    print(json.dumps({"status": status}) if chosen.json else status)
    return 0 if status == "SERVING" else 1


def status_of(channel: grpc.Channel, service: str, timeout: float) -> str:
    """What grpc.health.v1 says of a service, "" for all. Raises grpc.RpcError."""
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return "SERVICE_UNKNOWN"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
