"""`usher token revoke`, `revocations` and `lift`: the deny list, over the admin address."""

from __future__ import annotations

import argparse
from typing import Any

from google.protobuf.duration_pb2 import Duration
from usher.v1 import revocation_service_pb2 as pb
from usher.v1 import revocation_service_pb2_grpc

from sidecar.cli import remote
from sidecar.cli.connecting import channel as connect
from sidecar.cli.remote import Failed
from sidecar.cli.render import json_text
from sidecar.config.declaring import duration
from sidecar.core.errors import SettingsError
from sidecar.core.revocations import MOST_SECONDS


def add_to(actions: Any) -> None:
    """Adds the actions to `usher token`."""
    revoke = actions.add_parser("revoke", help="refuse a token, a user's or a key's before they expire")
    _add_what(revoke)
    revoke.add_argument(
        "--existing-only",
        action="store_true",
        help="with --sub: sign the user out; tokens issued later are good",
    )
    revoke.add_argument(
        "--for",
        dest="lasting",
        metavar="DURATION",
        help="how long, such as 24h (default, and at least: as long as a token can live)",
    )
    revoke.set_defaults(run=_revoke)
    listing = actions.add_parser("revocations", help="show what is revoked, the newest first")
    listing.set_defaults(run=_list)
    lift = actions.add_parser("lift", help="end a revocation before its time")
    _add_what(lift)
    lift.set_defaults(run=_lift)
    for action in (revoke, listing, lift):
        remote.add_json(action)
        remote.add_address(action, "grpc_admin_address")


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--jti", help="one token, by its id")
    what.add_argument("--sub", help="a user: all tokens, and the name itself")
    what.add_argument("--kid", help="every token of a signing key")


def _revoke(chosen: argparse.Namespace) -> int:
    request = pb.RevokeTokensRequest(revoked=_what(chosen), existing_tokens_only=chosen.existing_only)
    if chosen.lasting is not None:
        request.duration.CopyFrom(_lasting(chosen.lasting))
    with connect(chosen) as channel:
        response = _stub(channel).RevokeTokens(request, timeout=chosen.timeout)
    if chosen.json:
        print(json_text(response))
        return 0
    print(f"revoked until {response.revocation.expire_time.ToJsonString()}")
    if not response.shared:
        print("by this sidecar alone, until it restarts: its backend shares no deny list")
    print("a verifier that does not ask Usher accepts a token until it expires")
    return 0


def _list(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        response = _stub(channel).ListRevocations(pb.ListRevocationsRequest(), timeout=chosen.timeout)
    if chosen.json:
        print(json_text(response))
        return 0
    for entry in response.revocations:
        by = entry.revoked.WhichOneof("by")
        until = entry.issued_until_time
        narrowed = f"  issued until {until.ToJsonString()}" if entry.HasField("issued_until_time") else ""
        # ascii: a subject may hold what a terminal takes for a command.
        print(
            f"{by}  {getattr(entry.revoked, by)!a}  revoked {entry.revoke_time.ToJsonString()}"
            f"  until {entry.expire_time.ToJsonString()}{narrowed}"
        )
    if response.total > len(response.revocations):
        print(f"and {response.total - len(response.revocations)} older ones")
    return 0


def _lift(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        response = _stub(channel).LiftRevocation(
            pb.LiftRevocationRequest(revoked=_what(chosen)), timeout=chosen.timeout
        )
    if not response.lifted:
        raise Failed("there is no such entry: see `usher token revocations`")
    print('{"lifted": true}' if chosen.json else "lifted")
    return 0


def _what(chosen: argparse.Namespace) -> pb.Revoked:
    return pb.Revoked(jti=chosen.jti, sub=chosen.sub, kid=chosen.kid)


def _lasting(text: str) -> Duration:
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise SettingsError("--for: give a duration of at most 30 days, such as 90m or 24h")
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def _stub(channel: Any) -> revocation_service_pb2_grpc.RevocationServiceStub:
    return revocation_service_pb2_grpc.RevocationServiceStub(channel)  # type: ignore[no-untyped-call]
