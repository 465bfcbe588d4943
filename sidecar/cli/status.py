"""`usher status`: whether a sidecar serves, and how its signing keys stand, on one screen."""

from __future__ import annotations

import argparse
import collections
import time
from typing import Any, Final

import usher
from usher.v1 import key_service_pb2, query_service_pb2, token_service_pb2

from sidecar.cli import remote
from sidecar.cli.connecting import channel, client
from sidecar.cli.health import status_of
from sidecar.cli.render import json_text

_SERVICES: Final = (
    token_service_pb2.DESCRIPTOR.services_by_name["TokenService"].full_name,
    query_service_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name,
)


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "status",
        help="show whether a sidecar serves, and how its signing keys stand",
        description="Shows whether a running sidecar and each of its services serve, how long it takes to "
        "answer, and how its signing keys stand. Exit code 0 when all serve; keys that cannot be seen from "
        "here are no failure.",
        epilog="\nexamples:\n  usher status\n  usher status --address unix:/run/usher/usher.sock --json\n",
    )
    default = remote.default_address("grpc_admin_address")
    parser.add_argument(
        "--admin-address",
        default=default,
        metavar="ADDRESS",
        help=f"where it is asked for its keys; empty: do not ask (default: {default})",
    )
    remote.add_json(parser)
    remote.add_address(parser)
    parser.set_defaults(run=_status)


def _status(chosen: argparse.Namespace) -> int:
    with channel(chosen) as connected:
        whole = status_of(connected, "", chosen.timeout)
        started = time.monotonic()
        services = {name: status_of(connected, name, chosen.timeout) for name in _SERVICES}
        took = (time.monotonic() - started) / len(_SERVICES)
    keys, trouble = _keys(chosen) if chosen.admin_address else ([], "not asked")
    if chosen.json:
        print(json_text(_fields(chosen, whole, services, took, keys, trouble)))
    else:
        print(f"{'sidecar':24}  {whole:15}  {chosen.address}, answers in {took * 1000:.1f} ms")
        for name, status in services.items():
            print(f"{name:24}  {status}")
        print(f"{'signing keys':24}  {trouble or _summary(keys)}")
    return 0 if {whole, *services.values()} == {"SERVING"} else 1


def _keys(chosen: argparse.Namespace) -> tuple[list[key_service_pb2.Key], str]:
    """The keys, or why they cannot be seen."""
    try:
        with client(chosen, chosen.admin_address) as connected:
            return connected.list_keys(), ""
    except usher.UsherError as error:
        return [], f"not to be seen at {chosen.admin_address} ({error.reason}); see --admin-address"


def _summary(keys: list[key_service_pb2.Key]) -> str:
    counts = collections.Counter(usher.key_state(key).lower() for key in keys)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    step = _next_step(keys)
    return f"{told}; next step {step}" if step else told


def _next_step(keys: list[key_service_pb2.Key]) -> str | None:
    steps = [key.next_step_time for key in keys if key.HasField("next_step_time")]
    return min(steps, key=lambda step: step.ToNanoseconds()).ToJsonString() if steps else None


def _fields(
    chosen: argparse.Namespace,
    whole: str,
    services: dict[str, str],
    took: float,
    keys: list[key_service_pb2.Key],
    trouble: str,
) -> dict[str, Any]:
    return {
        "address": chosen.address,
        "status": whole,
        "services": services,
        "answer_ms": round(took * 1000, 1),
        "keys": None if trouble else dict(collections.Counter(usher.key_state(key) for key in keys)),
        "next_step_time": _next_step(keys),
    }
