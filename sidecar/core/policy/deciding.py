"""The decision: may this caller do this, and within which limits. The same steps decide and explain.

No step, message or metadata holds the value of a claim, a subject or an audience.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sidecar.core.callers import Caller
from sidecar.core.claims import Json
from sidecar.core.errors import Reason, UsherError, of_statement
from sidecar.core.policy.claim_rules import ClaimRule, DerivedClaim, FixedClaim, ListedClaim, same
from sidecar.core.policy.patterns import any_matches
from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, Policy, Rules

_SPEAKS_FOR_USER: Final = frozenset(METHODS) - {"VerifyToken"}
_RUNS_STATEMENTS: Final = frozenset({"RunScopedQuery", "RunScopedTransaction", "StreamScopedQuery"})
_HAS_ROLE: Final = _RUNS_STATEMENTS | {"WhoAmI"}
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}\Z")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The end user that a caller speaks for. `claims` are the custom ones.

    `audiences` is None where there are none to name: a scope without a token. `signed` says that a token
    holds all this: of its audiences one must be allowed, of those asked for every one.
    """

    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    audiences: tuple[str, ...] | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A statement to run: the caller's own text (`free`), or the one that `statement` names.

    Limits are None for the default. `index` is its place among the statements of a transaction, for errors.
    """

    statement: str | None = None
    free: bool = False
    max_rows: int | None = None
    timeout: float | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a caller asks for. `ttl` in seconds, None for the default."""

    method: str
    principal: Principal | None = None
    ttl: float | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an allowed call may use. None is the server's own limit, for `role` the setting database_role."""

    claims: Mapping[str, Json] = field(default_factory=dict)
    """The claims that the sidecar adds."""
    role: str | None = None
    read_only: bool = False
    max_ttl: int | None = None
    max_rows: int | None = None
    statement_timeout: float | None = None


UNLIMITED: Final = Grant()
"""What everyone has where there is no policy."""


class Verdict(enum.StrEnum):
    """What a rule does to an ask."""

    ALLOW = "allow"
    REFUSE = "refuse"
    ADD = "add"
    LIMIT = "limit"


class Step(NamedTuple):
    """What one rule said: its path in the policy, its verdict, and why."""

    rule: str
    verdict: Verdict
    why: str


_Said = tuple[str, Verdict, str]
"""A step before it has names: each call makes a dozen, and drops them."""


def decide(policy: Policy, caller: Caller, *asks: Ask) -> Grant:
    """What the caller may use for this, or for several asks that are one call: all must be allowed.

    Raises POLICY_REFUSED whose metadata `rule` names what refused.
    """
    for ask in asks:
        try:
            _raise_first(_steps(policy, caller, ask))
        except UsherError as error:
            if ask.run is None or ask.run.index is None:
                raise
            raise of_statement(error, ask.run.index) from None
    return one_grant([_grant(policy.callers[caller.name], caller, ask) for ask in asks])


def one_grant(grants: Sequence[Grant]) -> Grant:
    """The grant of all parts of a call. Rules look at the caller and the user only, so that it is the same.

    Raises POLICY_REFUSED should it not be: statements under different roles, claims or limits cannot share a
    transaction.
    """
    if any(grant != grants[0] for grant in grants[1:]):
        raise UsherError(
            Reason.POLICY_REFUSED,
            "callers: the rules differ for these statements; send them apart",
            {"rule": "callers"},
        )
    return grants[0]


def check_method(policy: Policy, caller: Caller, method: str) -> None:
    """The first part of `decide`, which needs no request. Raises as it does."""
    _raise_first(_method_steps(policy, caller, method))


def explain(policy: Policy, caller: Caller, ask: Ask) -> list[Step]:
    """Every step of the decision, those after a refusal too; the first refusal is the one that decides."""
    return [Step(*said) for said in _steps(policy, caller, ask)]


def _raise_first(steps: Iterator[_Said]) -> None:
    for rule, verdict, why in steps:
        if verdict is Verdict.REFUSE:
            raise UsherError(Reason.POLICY_REFUSED, f"{rule}: {why}", {"rule": rule})


def _steps(policy: Policy, caller: Caller, ask: Ask) -> Iterator[_Said]:
    yield from _method_steps(policy, caller, ask.method)
    rules = policy.callers.get(caller.name)
    if rules is None:
        return
    path = f"callers.{caller.name}"
    if ask.principal is not None:
        yield from _principal_steps(path, rules, caller, ask.principal)
    elif ask.method in _SPEAKS_FOR_USER:
        yield (f"{path}.subjects", Verdict.REFUSE, "the call names no subject")
    if ask.method == "IssueToken":
        yield from _ttl_steps(path, rules, ask)
    if ask.method in _RUNS_STATEMENTS:
        yield from _run_steps(path, rules, ask.run or Run(free=True))
    if ask.method in _HAS_ROLE:
        role = _role(rules, caller, ask.principal)
        yield (f"{path}.roles", Verdict.LIMIT, f"statements run as {role or 'database_role'}")


def _method_steps(policy: Policy, caller: Caller, method: str) -> Iterator[_Said]:
    rules = policy.callers.get(caller.name)
    if rules is None:
        yield ("callers", Verdict.REFUSE, "the policy has no such caller")
        return
    path = f"callers.{caller.name}"
    yield (path, Verdict.ALLOW, "the policy has this caller")
    if method in rules.methods:
        yield (f"{path}.methods", Verdict.ALLOW, "the method is listed")
    else:
        yield (f"{path}.methods", Verdict.REFUSE, "the method is not listed")
    if method in ADMIN_METHODS:
        if rules.admin and caller.admin:
            yield (f"{path}.admin", Verdict.ALLOW, "the caller is an admin")
        else:
            yield (f"{path}.admin", Verdict.REFUSE, "the method needs an admin caller")


def _principal_steps(path: str, rules: Rules, caller: Caller, principal: Principal) -> Iterator[_Said]:
    if any_matches(rules.subjects, principal.subject):
        yield (f"{path}.subjects", Verdict.ALLOW, "an entry matches the subject")
    else:
        yield (f"{path}.subjects", Verdict.REFUSE, "no entry matches the subject")
    if principal.audiences is not None:
        yield _audience_step(f"{path}.audiences", rules, principal.audiences, principal.signed)
    for name in sorted(rules.claims):
        yield from _claim_steps(f"{path}.claims.{name}", rules.claims[name], name, caller, principal.claims)
    if not rules.other_claims:
        for name in sorted(principal.claims.keys() - rules.claims.keys()):
            named = f"the claim {name}" if _PLAIN_NAME.match(name) else "a claim"
            yield (f"{path}.other_claims", Verdict.REFUSE, f"{named} is none of those in {path}.claims")


def _audience_step(rule: str, rules: Rules, audiences: tuple[str, ...], signed: bool) -> _Said:
    allowed = [any_matches(rules.audiences, audience) for audience in audiences]
    if not audiences:
        if rules.audiences:
            return (rule, Verdict.REFUSE, "one of these audiences must be named")
        return (rule, Verdict.ALLOW, "no audience is named")
    if all(allowed) or (signed and any(allowed)):
        return (rule, Verdict.ALLOW, "entries match the audiences")
    return (rule, Verdict.REFUSE, "no entry matches an audience")


def _claim_steps(
    path: str, rule: ClaimRule, name: str, caller: Caller, claims: Mapping[str, Any]
) -> Iterator[_Said]:
    sent = claims.get(name, _MISSING)
    if isinstance(rule, ListedClaim):
        # An empty list names no value, and would pass `values` without being any of them.
        if sent is _MISSING or (sent == [] and rule.required):
            if rule.required:
                yield (path, Verdict.REFUSE, "the claim is required")
        elif rule.allows(sent):
            yield (path, Verdict.ALLOW, "the value is allowed")
        else:
            yield (path, Verdict.REFUSE, "the value is not one of those allowed")
        return
    value = _set_value(rule, caller)
    if value is _MISSING:
        yield (path, Verdict.REFUSE, "the caller's proof does not establish what the claim is made from")
    elif sent is _MISSING or same(sent, value):
        yield (path, Verdict.ADD, "the sidecar sets this claim")
    else:
        yield (path, Verdict.REFUSE, "the sidecar sets this claim to another value; leave it out")


def _set_value(rule: FixedClaim | DerivedClaim, caller: Caller) -> Any:
    if isinstance(rule, FixedClaim):
        return rule.value
    return caller.attributes.get(rule.attribute, _MISSING)


def _ttl_steps(path: str, rules: Rules, ask: Ask) -> Iterator[_Said]:
    if rules.max_ttl is None:
        return
    verdict = Verdict.REFUSE if ask.ttl is not None and ask.ttl > rules.max_ttl else Verdict.LIMIT
    yield (f"{path}.max_ttl", verdict, f"a token lives {rules.max_ttl} s at most")


def _run_steps(path: str, rules: Rules, run: Run) -> Iterator[_Said]:
    if rules.free_sql:
        yield (f"{path}.sql", Verdict.ALLOW, "any SQL is allowed")
    elif run.free or run.statement is None:
        why = "only named statements are allowed" if rules.statements else "no SQL is allowed"
        yield (f"{path}.sql", Verdict.REFUSE, why)
    elif run.statement in rules.statements:
        yield (f"{path}.sql", Verdict.ALLOW, "the named statement is listed")
    else:
        yield (f"{path}.sql", Verdict.REFUSE, "the named statement is not listed")
    if rules.read_only:
        yield (f"{path}.read_only", Verdict.LIMIT, "the transaction is read-only")
    if rules.max_rows is not None:
        above = run.max_rows is not None and run.max_rows > rules.max_rows
        verdict = Verdict.REFUSE if above else Verdict.LIMIT
        yield (f"{path}.max_rows", verdict, f"a query returns {rules.max_rows} rows at most")
    if rules.statement_timeout is not None:
        above = run.timeout is not None and run.timeout > rules.statement_timeout
        verdict = Verdict.REFUSE if above else Verdict.LIMIT
        yield (
            f"{path}.statement_timeout",
            verdict,
            f"a statement runs {rules.statement_timeout:g} s at most",
        )


def _grant(rules: Rules, caller: Caller, ask: Ask) -> Grant:
    return Grant(
        claims=_added(rules, caller),
        role=_role(rules, caller, ask.principal),
        read_only=rules.read_only,
        max_ttl=rules.max_ttl,
        max_rows=rules.max_rows,
        statement_timeout=rules.statement_timeout,
    )


def _added(rules: Rules, caller: Caller) -> dict[str, Json]:
    """The fixed and derived claims; what a proof does not establish was refused before."""
    return {
        name: value
        for name, rule in rules.claims.items()
        if not isinstance(rule, ListedClaim) and (value := _set_value(rule, caller)) is not _MISSING
    }


def _role(rules: Rules, caller: Caller, principal: Principal | None) -> str | None:
    """The Postgres role: the mapped one where the claim that chooses has a mapped value, else the default."""
    roles = rules.roles
    if roles.claim is None or principal is None:
        return roles.default
    rule = rules.claims.get(roles.claim)
    if rule is None or isinstance(rule, ListedClaim):
        chosen = principal.claims.get(roles.claim)
    else:
        chosen = _set_value(rule, caller)
    return roles.by_value.get(chosen, roles.default) if isinstance(chosen, str) else roles.default
