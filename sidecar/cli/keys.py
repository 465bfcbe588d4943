"""`usher keys`: look after the signing keys, over the admin address."""

from __future__ import annotations

import argparse
from typing import Any, Final

import usher

from sidecar.cli import remote
from sidecar.cli.connecting import client as connect
from sidecar.cli.render import fields_of, json_text

_EXAMPLES: Final = """
examples:
  usher keys list
  usher keys rotate --address unix:/run/usher/admin.sock
  usher keys revoke "$KID" --json
"""


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "keys",
        help="list, rotate or revoke signing keys",
        description="Looks after the signing keys of a running sidecar, over its admin address.",
        epilog=_EXAMPLES,
    )
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
        remote.add_json(action)
        remote.add_address(action, "grpc_admin_address")


def _list(chosen: argparse.Namespace) -> int:
    with connect(chosen) as client:
        keys = client.list_keys()
    if chosen.json:
        print(json_text({"keys": [fields_of(key) for key in keys]}))
        return 0
    for key in keys:
        step = f"next step {key.next_step_time.ToJsonString()}" if key.HasField("next_step_time") else ""
        print(
            f"{key.kid}  {key.alg}  {usher.key_state(key).lower():8}  "
            f"published {key.publish_time.ToJsonString()}  {step}".rstrip()
        )
    return 0


def _rotate(chosen: argparse.Namespace) -> int:
    with connect(chosen) as client:
        response = client.rotate_keys(force=chosen.force)
    if chosen.json:
        print(json_text(response))
    else:
        print(f"{response.active.kid} signs now; {response.retired.kid} is retired")
    return 0


def _revoke(chosen: argparse.Namespace) -> int:
    with connect(chosen) as client:
        response = client.revoke_key(chosen.kid)
    if chosen.json:
        print(json_text(response))
    else:
        until = response.verifiers_may_accept_until_time.ToJsonString()
        print(f"{response.active.kid} signs now")
        print(f"a verifier with a cached set may accept {chosen.kid} until {until}")
    return 0
