"""`usher keys`: look after the signing keys, over the admin address (their store: cli/key_store.py)."""

from __future__ import annotations

import argparse
from typing import Any, Final

import usher
from google.protobuf.timestamp_pb2 import Timestamp
from usher.v1 import key_service_pb2 as pb

from sidecar.cli import key_store, remote
from sidecar.cli.connecting import client as connect
from sidecar.cli.render import json_text
from sidecar.config.declaring import duration
from sidecar.core.errors import SettingsError

_EXAMPLES: Final = """
examples:
  usher keys list
  usher keys rotate --address unix:/run/usher/admin.sock
  usher keys revoke "$KID" --after 10m --json
"""


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "keys",
        help="list, rotate or revoke signing keys; install their store",
        description="Looks after the signing keys of a running sidecar, and their store.",
        epilog=_EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show every key, its next step and what that waits for")
    listing.set_defaults(run=_list)
    rotate = actions.add_parser("rotate", help="let the prepared key sign now")
    rotate.add_argument("--force", action="store_true", help="even if verifiers may not know it yet")
    rotate.set_defaults(run=_rotate)
    revoke = actions.add_parser("revoke", help="take a key out of the set of every replica")
    revoke.add_argument("kid", help="the key's id")
    revoke.add_argument(
        "--after", default="0s", metavar="DURATION", help="go on with it for so long (default: not at all)"
    )
    revoke.set_defaults(run=_revoke)
    for action in (listing, rotate, revoke):
        remote.add_json(action)
        remote.add_address(action, "grpc_admin_address")
    key_store.add_to(actions)


def _list(chosen: argparse.Namespace) -> int:
    with connect(chosen) as client:
        described = client.describe_keys()
    if chosen.json:
        print(json_text(described))
        return 0
    now = described.read_time
    for key in described.keys:
        state = usher.key_state(key).lower()
        print(
            f"{key.kid}  {key.alg}  {state:8}  published {_moment(key.publish_time, now)}  {_next(key, now)}"
        )
    store = described.store
    print(f"\nkey store {store.kind}  version {store.version}  reached {_moment(store.reach_time, now)}")
    for replica in described.replicas:
        itself = "  (this one)" if replica.self else ""
        print(
            f"replica {replica.id}  version {replica.version}  seen {_moment(replica.seen_time, now)}"
            f"  clock {replica.clock_skew_seconds:+.1f} s{itself}"
        )
    for verifier in described.verifiers:
        name = "others" if verifier.name == "*" else verifier.name
        fetched = f"last fetch {_moment(verifier.fetch_time, now)}, of version {verifier.version}"
        print(f"verifier {name}  {fetched if verifier.HasField('fetch_time') else 'has not fetched yet'}")
    return 0


def _next(key: pb.Key, now: Timestamp) -> str:
    """The next step, when it is due, and whom it waits for."""
    words = ["next step", pb.KeyStep.Name(key.next_step).removeprefix("KEY_STEP_").lower()]
    words.append(_moment(key.next_step_time, now) if key.HasField("next_step_time") else "when it can")
    others = [f"replica {name}" for name in key.waits_for_replicas] + list(key.waits_for_verifiers)
    if others:
        words.append(f" waits for {', '.join(others)}")
    if key.HasField("goes_on_time"):
        words.append(f" at most until {_moment(key.goes_on_time, now)}")
    return " ".join(words)


def _moment(moment: Timestamp, now: Timestamp) -> str:
    """The time, to the second, and how far away it is."""
    seconds = moment.seconds - now.seconds
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if size >= 2 * length or unit == "s":
            away = f"{size // length} {unit}"
            break
    text = Timestamp(seconds=moment.seconds).ToJsonString()
    return f"{text} (in {away})" if seconds > 0 else f"{text} ({away} ago)"


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
        response = client.revoke_key(chosen.kid, after=_seconds(chosen.after))
    if chosen.json:
        print(json_text(response))
    else:
        until = response.verifiers_may_accept_until_time.ToJsonString()
        print(f"{response.active.kid} signs now")
        if _seconds(chosen.after):
            print(f"{chosen.kid} goes on until {response.leave_time.ToJsonString()}")
        print(f"a verifier with a cached set may accept {chosen.kid} until {until}")
        for replica in response.unconfirmed_replicas:
            print(f"replica {replica} has not confirmed yet: it may still sign and serve {chosen.kid}")
    return 0


def _seconds(text: str) -> float:
    try:
        return duration(text)
    except ValueError:
        raise SettingsError("--after: give a duration such as 90m") from None
