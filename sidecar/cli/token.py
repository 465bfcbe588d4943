"""`usher token`: issue, verify and decode; revocations.py adds what is done to tokens that are out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

import jwt
from google.protobuf.duration_pb2 import Duration
from usher.v1 import token_service_pb2 as pb
from usher.v1 import token_service_pb2_grpc

from sidecar.cli import remote, revocations
from sidecar.cli.connecting import channel as connect
from sidecar.cli.remote import Failed
from sidecar.cli.render import json_text
from sidecar.core.errors import SettingsError

_LONGEST_DURATION: Final = 315_576_000_000
"""Seconds that a Duration can hold (google/protobuf/duration.proto); the server allows far less."""


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("token", help="issue, verify, decode or revoke a token")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    issue = actions.add_parser("issue", help="issue a token and print it")
    remote.add_address(issue)
    issue.add_argument("--sub", required=True, help="the end user: the sub claim")
    remote.add_claims(issue)
    issue.add_argument("--aud", action="append", default=[], help="an audience; may be given several times")
    issue.add_argument("--ttl", type=int, metavar="SECONDS", help="the lifetime (default: the server's)")
    issue.add_argument("--validate-only", action="store_true", help="show the claims, sign nothing")
    issue.add_argument("--json", action="store_true", help="print everything about the token as JSON")
    issue.set_defaults(run=_issue)

    verify = actions.add_parser("verify", help="check a token and print its claims")
    remote.add_address(verify)
    verify.add_argument("token", help='the token, or "-" to read it from standard input')
    verify.add_argument("--aud", default="", help="an audience that the token must name")
    verify.add_argument("--jwks", metavar="URL", help="check it here, with the keys published at URL")
    verify.set_defaults(run=_verify)

    decode = actions.add_parser("decode", help="print a token's header and claims without checking it")
    decode.add_argument("token", help='the token, or "-" to read it from standard input')
    decode.set_defaults(run=_decode)
    revocations.add_to(actions)


def _issue(chosen: argparse.Namespace) -> int:
    request = pb.IssueTokenRequest(
        subject=chosen.sub,
        audiences=chosen.aud,
        claims=remote.claims(chosen.claim),
        validate_only=chosen.validate_only,
    )
    if chosen.ttl is not None:
        if abs(chosen.ttl) > _LONGEST_DURATION:
            raise SettingsError("--ttl: a number of seconds, such as 300")
        request.ttl.CopyFrom(Duration(seconds=chosen.ttl))
    with connect(chosen) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response = stub.IssueToken(request, timeout=remote.DEADLINE_SECONDS)
    if chosen.json or chosen.validate_only:
        print(json_text(response))
    else:
        print(response.token)
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    token = _given(chosen.token)
    if chosen.jwks:
        print(json_text(_verified_with_jwks(token, chosen.jwks, chosen.aud)))
        return 0
    with connect(chosen) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response = stub.VerifyToken(
            pb.VerifyTokenRequest(token=token, audience=chosen.aud), timeout=remote.DEADLINE_SECONDS
        )
    print(json_text(response.claims))
    return 0


def _verified_with_jwks(token: str, url: str, audience: str) -> dict[str, Any]:
    """The claims, when a key published at `url` verifies the token.

    Raises Failed when none does, SettingsError for what is no URL.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError("--jwks: give an http:// or https:// URL")
    keys = _published(url)
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in keys if key.key_id == kid), None)
        if key is None:
            raise Failed(f"the token does not verify: no key published at {url} has its kid")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["ES256", "RS256"],
            audience=audience or None,
            options={"verify_aud": bool(audience)},
        )
    except jwt.PyJWTError as error:
        raise Failed(f"the token does not verify: {error}") from None
    return claims


def _published(url: str) -> list[jwt.PyJWK]:
    document = remote.fetched(url)
    try:
        keys: list[jwt.PyJWK] = jwt.PyJWKSet.from_dict(json.loads(document)).keys
    except (ValueError, AttributeError, jwt.PyJWTError) as error:
        raise Failed(f"{url} holds no JSON Web Key Set: {error}") from None
    return keys


def _decode(chosen: argparse.Namespace) -> int:
    token = _given(chosen.token)
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        print(json_text({"header": jwt.get_unverified_header(token), "claims": claims}))
    except jwt.PyJWTError as error:
        raise Failed(f"this is no token: {error}") from None
    return 0


def _given(token: str) -> str:
    return (sys.stdin.read() if token == "-" else token).strip()
