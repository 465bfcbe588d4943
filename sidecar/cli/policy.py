"""`usher policy`: check a policy file, explain a decision, make a bearer key. Needs no running sidecar."""

from __future__ import annotations

import argparse
import base64
import hashlib
import secrets
from pathlib import Path
from typing import Any, Final

from sidecar.cli import remote
from sidecar.config import Config, load_policy, load_statements, suggestion
from sidecar.core.callers import ANONYMOUS, ATTRIBUTES, KEY_PREFIX, Caller, CallerIdentity, Proof
from sidecar.core.errors import SettingsError
from sidecar.core.policy import (
    ADMIN_METHODS,
    METHODS,
    Ask,
    Policy,
    Principal,
    Run,
    Step,
    Verdict,
    explain,
)

_KEY_BYTES: Final = 32


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("policy", help="check and explain the policy file, make keys of callers")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    check = actions.add_parser("check", help="check a policy file; exit code 2 names each mistake's line")
    check.add_argument("file", type=Path, help="the policy file")
    check.add_argument("--statements-dir", type=Path, metavar="DIR", help="check names of statements, too")
    check.set_defaults(run=_check)

    explaining = actions.add_parser("explain", help="show which rule allows or refuses a call, and why")
    explaining.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the policy file")
    explaining.add_argument("--caller", required=True, help="the caller's name in the policy")
    explaining.add_argument("--rpc", required=True, help=f"the method: {', '.join(METHODS)}, ...")
    explaining.add_argument("--sub", help="the end user: the sub claim")
    remote.add_claims(explaining)
    explaining.add_argument("--aud", action="append", default=[], help="an audience; may be given again")
    explaining.add_argument("--ttl", type=float, metavar="SECONDS", help="the lifetime asked for")
    explaining.add_argument("--statement", help="the named statement to run (without: SQL of the caller's)")
    explaining.add_argument("--max-rows", type=int, help="the rows asked for")
    explaining.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="the statement timeout asked for"
    )
    explaining.add_argument("--token", action="store_true", help="the end user comes as a signed token")
    explaining.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a fact that the caller's proof establishes: {', '.join(ATTRIBUTES)} "
        "(default: what the policy says of it)",
    )
    explaining.set_defaults(run=_explain)

    new_key = actions.add_parser(
        "new-key", help="make a bearer key for a caller, and the hash for the policy"
    )
    new_key.set_defaults(run=_new_key)


def _check(chosen: argparse.Namespace) -> int:
    names = None
    if chosen.statements_dir is not None:
        names = load_statements(chosen.statements_dir, Config().max_sql_bytes).names
    policy = load_policy(chosen.file, names)
    count = len(policy.callers)
    print(f"{chosen.file}: {count} caller{'' if count == 1 else 's'}, no mistakes")
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    policy = load_policy(chosen.policy)
    known = (*METHODS, *ADMIN_METHODS)
    method = chosen.rpc.rpartition("/")[2]
    if method not in known:
        hint = suggestion(method, known) or f"; known are {', '.join(known)}"
        raise SettingsError(f"--rpc: there is no such method{hint}")
    caller = _caller(policy, chosen.caller, chosen.attribute)
    ask = _ask(chosen, method)
    steps = explain(policy, caller, ask)
    refused = next((step for step in steps if step.verdict is Verdict.REFUSE), None)
    end = f"refused by {refused.rule}" if refused is not None else "allowed"
    print(f"{chosen.caller}, {method}: {end}\n")
    width = max(len(step.rule) for step in steps)
    for step in steps:
        print(_line(step, width))
    rules = policy.callers.get(chosen.caller)
    if rules is not None and rules.rate_limit is not None:
        rate = rules.rate_limit
        why = f"{rate.per_second:g} calls a second over time, {rate.burst} at once"
        print(_line(Step(f"callers.{chosen.caller}.rate_limit", Verdict.LIMIT, why), width))
    return 0 if refused is None else 1


def _line(step: Step, width: int) -> str:
    return f"  {step.verdict:<6}  {step.rule:<{width}}  {step.why}"


def _ask(chosen: argparse.Namespace, method: str) -> Ask:
    principal = None
    if chosen.sub is not None:
        # Without a token a query's scope has no audience; a token has those that it names.
        has_audience = method == "IssueToken" or chosen.token
        principal = Principal(
            subject=chosen.sub,
            claims=remote.claims_of(chosen.claim),
            audiences=tuple(chosen.aud) if has_audience else None,
            signed=chosen.token and method != "IssueToken",
        )
    run = Run(
        statement=chosen.statement,
        free=chosen.statement is None,
        max_rows=chosen.max_rows,
        timeout=chosen.timeout,
    )
    return Ask(method=method, principal=principal, ttl=chosen.ttl, run=run)


def _caller(policy: Policy, name: str, given: list[str]) -> Caller:
    """The caller as its proof would make it, the facts taken from the policy unless given."""
    known = next((identity for identity in policy.identities if identity.name == name), None)
    attributes = _facts(known) if known is not None else {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or key not in ATTRIBUTES:
            raise SettingsError(f"--attribute: write NAME=VALUE, NAME one of {', '.join(ATTRIBUTES)}")
        attributes[key] = value
    if known is None:
        return Caller(name=name, proof=ANONYMOUS.proof, identity=name, admin=False, attributes=attributes)
    return Caller(name=name, proof=Proof.KEY, identity=name, admin=known.admin, attributes=attributes)


def _facts(known: CallerIdentity) -> dict[str, str]:
    """What the policy says of a caller where it says one thing."""
    facts: dict[str, str] = {}
    for key, values in (
        ("spiffe_id", known.spiffe_ids),
        ("dns", known.dns_names),
        ("uid", known.uids),
        ("gid", known.gids),
    ):
        if len(values) == 1:
            facts[key] = str(values[0])
    if len(known.service_accounts) == 1:
        parts = known.service_accounts[0][1].split(":")
        if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
            facts["namespace"], facts["service_account"] = parts[2], parts[3]
    return facts


def _new_key(chosen: argparse.Namespace) -> int:
    key = KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode().rstrip("=")
    print(f"key         {key}")
    print(f"key_sha256  {hashlib.sha256(key.encode()).hexdigest()}")
    return 0
