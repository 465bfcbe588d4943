"""`usher keys`: look after the signing keys, over the admin address."""

from __future__ import annotations

import argparse
from typing import Any

from usher.v1 import key_service_pb2 as pb
from usher.v1 import key_service_pb2_grpc

from sidecar.cli import remote
from sidecar.cli.connecting import channel as connect
from sidecar.cli.render import json_text


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("keys", help="list, rotate or revoke signing keys")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show every key and its next step")
    listing.set_defaults(run=_list)
    rotate = actions.add_parser("rotate", help="let the prepared key sign now")
    rotate.add_argument("--force", action="store_true", help="even if verifiers may not know it yet")
    rotate.set_defaults(run=_rotate)
    revoke = actions.add_parser("revoke", help="take a key out of the set at once")
    revoke.add_argument("kid", help="the key's id")
    revoke.set_defaults(run=_revoke)
    for action in (listing, rotate, revoke):
        remote.add_address(action, "grpc_admin_address")
        action.add_argument("--json", action="store_true", help="print the answer as JSON")


def _list(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        response = _stub(channel).ListKeys(pb.ListKeysRequest(), timeout=remote.DEADLINE_SECONDS)
    if chosen.json:
        print(json_text(response))
        return 0
    for key in response.keys:
        state = pb.KeyState.Name(key.state).removeprefix("KEY_STATE_").lower()
        step = f"next step {key.next_step_time.ToJsonString()}" if key.HasField("next_step_time") else ""
        print(
            f"{key.kid}  {key.alg}  {state:8}  published {key.publish_time.ToJsonString()}  {step}".rstrip()
        )
    return 0


def _rotate(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        response = _stub(channel).RotateKeys(
            pb.RotateKeysRequest(force=chosen.force), timeout=remote.DEADLINE_SECONDS
        )
    if chosen.json:
        print(json_text(response))
    else:
        print(f"{response.active.kid} signs now; {response.retired.kid} is retired")
    return 0


def _revoke(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        response = _stub(channel).RevokeKey(
            pb.RevokeKeyRequest(kid=chosen.kid), timeout=remote.DEADLINE_SECONDS
        )
    if chosen.json:
        print(json_text(response))
    else:
        until = response.verifiers_may_accept_until_time.ToJsonString()
        print(f"{response.active.kid} signs now")
        print(f"a verifier with a cached set may accept {chosen.kid} until {until}")
    return 0


def _stub(channel: Any) -> key_service_pb2_grpc.KeyServiceStub:
    return key_service_pb2_grpc.KeyServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
