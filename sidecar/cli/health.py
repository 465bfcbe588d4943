"""`usher health`: asks a running sidecar by grpc.health.v1; for container probes."""

from __future__ import annotations

import argparse
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.cli import remote
from sidecar.cli.connecting import channel as connect


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("health", help="ask whether a running sidecar serves; exit code 0 when it does")
    remote.add_address(parser)
    parser.add_argument("--service", default="", help="a service such as usher.v1.TokenService; empty: all")
    parser.set_defaults(run=_health)


def _health(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=chosen.service), timeout=3.0)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            print("SERVICE_UNKNOWN")
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1
