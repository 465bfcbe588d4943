"""`usher token`: issue, verify and decode; revocations.py adds what is done to tokens that are out."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

import jwt

from sidecar.cli import remote, revocations
from sidecar.cli.connecting import client as connect
from sidecar.cli.remote import Failed
from sidecar.cli.render import json_text, token_fields
from sidecar.core.errors import SettingsError

_LONGEST_DURATION: Final = 315_576_000_000
"""Seconds that a Duration can hold (google/protobuf/duration.proto); the server allows far less."""

_ISSUE_EXAMPLES: Final = """
examples:
  usher token issue --sub alice --claim tenant_id=acme
  usher token issue --sub alice --claim 'permissions:=["read"]' --aud orders --ttl 60 --json
"""
_VERIFY_EXAMPLES: Final = """
examples:
  usher token verify --aud orders "$TOKEN"
  usher token verify --jwks http://127.0.0.1:8080/.well-known/jwks.json - < token.jwt
"""


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("token", help="issue, verify, decode or revoke a token")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    issue = actions.add_parser(
        "issue",
        help="issue a token and print it",
        description="Issues a token for an end user, and prints it alone on a line.",
        epilog=_ISSUE_EXAMPLES,
    )
    issue.add_argument("--sub", required=True, help="the end user: the sub claim")
    remote.add_claims(issue)
    issue.add_argument("--aud", action="append", default=[], help="an audience; may be given several times")
    issue.add_argument("--ttl", type=int, metavar="SECONDS", help="the lifetime (default: the server's)")
    issue.add_argument("--validate-only", action="store_true", help="show the claims, sign nothing")
    remote.add_json(issue, "print everything about the token as JSON")
    remote.add_address(issue)
    issue.set_defaults(run=_issue)

    verify = actions.add_parser(
        "verify",
        help="check a token and print its claims",
        description="Checks a token and prints its claims as JSON; exit code 1 when it is not valid.",
        epilog=_VERIFY_EXAMPLES,
    )
    verify.add_argument("token", help='the token, or "-" to read it from standard input')
    verify.add_argument("--aud", default="", help="an audience that the token must name")
    verify.add_argument("--jwks", metavar="URL", help="check it here, with the keys published at URL")
    remote.add_json(verify, "print everything about the token, and refusals, as JSON")
    remote.add_address(verify)
    verify.set_defaults(run=_verify)

    decode = actions.add_parser(
        "decode",
        help="print a token's header and claims without checking it",
        description="Prints a token's header and claims as JSON, without checking anything. It asks nobody.",
        epilog='\nexample:\n  usher token decode "$TOKEN"\n',
    )
    decode.add_argument("token", help='the token, or "-" to read it from standard input')
    remote.add_json(decode, "make refusals JSON, too: the answer always is")
    decode.set_defaults(run=_decode)
    revocations.add_to(actions)


def _issue(chosen: argparse.Namespace) -> int:
    if chosen.ttl is not None and abs(chosen.ttl) > _LONGEST_DURATION:
        raise SettingsError("--ttl: a number of seconds, such as 300")
    claims = remote.claims_of(chosen.claim)
    with connect(chosen) as client:
        issued = client.issue_token(
            chosen.sub, claims, audiences=chosen.aud, ttl=chosen.ttl, validate_only=chosen.validate_only
        )
    if chosen.json or chosen.validate_only:
        print(json_text(token_fields(issued)))
    else:
        print(issued.token)
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    token = _given(chosen.token)
    if chosen.jwks:
        claims = _verified_with_jwks(token, chosen.jwks, chosen.aud, chosen.timeout)
        header = jwt.get_unverified_header(token)
        print(json_text({"header": header, "claims": claims} if chosen.json else claims))
        return 0
    with connect(chosen) as client:
        verified = client.verify_token(token, audience=chosen.aud)
    fields = token_fields(verified)
    print(json_text(fields if chosen.json else fields["claims"]))
    return 0


def _verified_with_jwks(token: str, url: str, audience: str, timeout: float) -> dict[str, Any]:
    """The claims, when a key published at `url` verifies the token.

    Raises Failed when none does, SettingsError for what is no URL.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError("--jwks: give an http:// or https:// URL")
    keys = _published(url, timeout)
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


def _published(url: str, timeout: float) -> list[jwt.PyJWK]:
    document = remote.fetched(url, timeout)
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
    return (remote.standard_input() if token == "-" else token).strip()
