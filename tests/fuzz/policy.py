"""Fuzzes the policy: TOML becomes rules, or mistakes with lines; and the rules open what the text opens."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.fuzz import engine

with engine.instrumented():
    from sidecar.config import PolicyFileError, parse_policy
    from sidecar.core.callers import ATTRIBUTES, Caller, Directory, Proof
    from sidecar.core.errors import Reason, UsherError
    from sidecar.core.policy import (
        ADMIN_METHODS,
        METHODS,
        Ask,
        Grant,
        Policy,
        Principal,
        Rules,
        Run,
        Verdict,
        decide,
        explain,
    )
    from sidecar.core.policy.claim_rules import ClaimRule, ListedClaim

PAGE: Final = Path(__file__).parents[2] / "docs/policy.md"
FILE: Final = "policy.toml"
STATEMENTS: Final = {"orders_of_customer", "one"}
SENT: Final = "zqxsent"
"""What callers send here; no seed holds it, and no explanation may."""
CALLERS: Final = 4
"""How many callers of a policy are asked about."""

_MISTAKE: Final = re.compile(rf"{re.escape(FILE)}:([1-9][0-9]*): \S.*")
_MORE: Final = re.compile(rf"{re.escape(FILE)}: and [0-9]+ more")
_OTHERS: Final = (
    b"""[callers.anonymous]
methods = ["VerifyToken"]
[callers."a-b"]
dns = ["a.internal", 'b.internal']
uid = 0
gid = [1, 2]
service_account = [{ issuer = "i", subject = "s" }, { issuer = "i", namespace = "n", name = "m" }]
admin = true
methods = ["RotateKeys", "IssueToken", "WhoAmI"]
subjects = ["*a*b*", '\\*']
max_ttl = 600
claims.x = { fixed = { a = [1, 2.0, true, "t"], b = {} } }
claims.y.from = "uid"
claims."z:z" = { values = [1, 2.5, false, "*"], required = true }
""",
    b"""callers = { a = { uid = 1, sql = "free", read_only = false, methods = "WhoAmI", subjects = "*" } }""",
    b"[callers.a]\r\nkey_sha256 = '''\r\n'''\r\nmax_rows = -1 # no\r\nmethod = []\r\n",
    b'[[callers]]\nname = "a"\n[callers.roles]\nclaim = "r"\n',
    b"[callers.a]\nuid = 0x10\nmax_ttl = nan\nstatement_timeout = inf\nrate_limit.burst = 1_0\n",
    b"[callers.a]\nsubjects = [[[[[[[[1979-05-27T07:32:00Z]]]]]]]]\nclaims.sub = {any = true}\n",
    b"",
)
_VALUES: Final = (
    *("true", "false", "-1", "0", "1", "2.5", "nan", "1e999", "9" * 40, '""', '"*"', '"free"', '"10m"', "[]"),
    *('["*", "one"]', "[1, 2]", "[[[]]]", "{}", "{ any = true }", "{ values = [1, 'a*'] }", "1979-05-27"),
    *('{ from = "uid" }', "{ fixed = { a = [1.0, { b = 'c' }] } }", "{ per_second = 1e3 }", '"\\u0000"'),
)
"""What takes the place of a line's value."""


def _blocks() -> list[str]:
    """The examples of the page."""
    return re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


_TEXTS: Final = (*_blocks(), *(text.decode() for text in _OTHERS))
LINES: Final = sorted(
    {line for text in _TEXTS for line in text.splitlines() if re.match(r"\[callers\.|\w+ = ", line)}
)
"""Headers, and pairs of a key and a value."""


def _seeds() -> tuple[bytes, ...]:
    """Examples as text and as numbers of lines: a changed text is hardly ever TOML, changed numbers often."""
    numbers = [
        bytes(number for line in text.splitlines() if line in LINES for number in (LINES.index(line), 0))
        for text in _TEXTS
    ]
    return (*(text.encode() for text in _TEXTS), *(b"\0" + each for each in numbers))


SEEDS: Final = _seeds()


def one(data: bytes) -> None:
    """A text is a policy or a list of mistakes, and a policy opens nothing that its text does not.

    After a NUL, which TOML never holds, pairs of a line's number and its value's.
    """
    text = _from_lines(data[1:]) if data.startswith(b"\0") else data.decode("utf-8", "replace")
    policy = parsed(text)
    if policy is not None:
        Directory(policy.identities)
        _decisions(policy)


def _from_lines(numbers: bytes) -> str:
    """Lines of the examples, each key once in a table. A value's number of 128 or more: another value."""
    made: dict[str, str] = {}
    table = ""
    for number, value in zip(numbers[::2], numbers[1::2], strict=False):
        line = LINES[number % len(LINES)]
        key, equals, _ = line.partition(" = ")
        if not equals:
            table = table if line in made else line
            made.setdefault(line, line)
        else:
            changed = f"{key} = {_VALUES[value % len(_VALUES)]}"
            made.setdefault(f"{table} {key}", changed if value >= 128 else line)
    return "\n".join(made.values())


def parsed(text: str) -> Policy | None:
    """The policy in a text, None for one that is refused. Raises AssertionError when it is not as written."""
    try:
        policy = parse_policy(text, FILE, STATEMENTS)
    except PolicyFileError as error:
        _mistakes(str(error).split("\n"), text.count("\n") + 1)
        return None
    written = tomllib.loads(text)["callers"]
    assert policy.callers.keys() == written.keys()
    for name, rules in policy.callers.items():
        _opens_only_what_is_written(rules, written[name])
    return policy


def _mistakes(lines: list[str], last: int) -> None:
    """Each is one printable line, and names a line of the text."""
    for line in lines:
        found = _MISTAKE.fullmatch(line)
        assert found or (line is lines[-1] and _MORE.fullmatch(line)), f"it names no line: {line!a}"
        assert line.isprintable(), f"it is not fit for a terminal: {line!a}"
        assert not found or int(found[1]) <= last, "it names a line that the text does not have"


def _opens_only_what_is_written(rules: Rules, table: dict[str, Any]) -> None:
    """A second reader of the fields that open something."""
    assert rules.admin is table.get("admin", False)
    assert rules.other_claims is table.get("other_claims", False)
    assert rules.read_only is table.get("read_only", True)
    assert rules.free_sql is (table.get("sql") == "free")
    assert rules.methods == frozenset(_texts(table.get("methods", [])))
    assert rules.methods <= {*METHODS, *(ADMIN_METHODS if rules.admin else ())}
    assert rules.statements == (frozenset() if rules.free_sql else frozenset(_texts(table.get("sql", []))))
    assert rules.statements <= STATEMENTS
    assert len(rules.subjects) == len(_texts(table.get("subjects", [])))
    assert len(rules.audiences) == len(_texts(table.get("audiences", [])))
    assert rules.claims.keys() == table.get("claims", {}).keys()
    for limit in ("max_ttl", "max_rows", "statement_timeout", "rate_limit"):
        assert (getattr(rules, limit) is None) is (limit not in table), limit


def _texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _decisions(policy: Policy) -> None:
    for name in [*list(policy.callers)[:CALLERS], "nobody"]:
        rules = policy.callers.get(name, Rules())
        caller = Caller(
            name=name,
            proof=Proof.KEY,
            identity=name,
            admin=rules.admin,
            attributes=dict.fromkeys(ATTRIBUTES, SENT),
        )
        for ask in _asks(rules):
            _decision(policy, caller, rules, ask)


def _asks(rules: Rules) -> Iterator[Ask]:
    """Each method without a user; then users whose subject, audiences and claims fit the rules, or do not."""
    for method in (*METHODS, *ADMIN_METHODS):
        yield Ask(method=method)
    fitting = {name: value for name, rule in rules.claims.items() if (value := _fitting(rule)) is not None}
    subjects = ["".join(pattern.parts) for pattern in rules.subjects[:2]]
    audience = ["".join(pattern.parts) for pattern in rules.audiences[:1]]
    for subject in (SENT, *subjects):
        for claims in (fitting, {key: [SENT] for key in rules.claims}, fitting | {"other": SENT}):
            for audiences in (None, (SENT, *audience), tuple(audience)):
                user = Principal(subject=subject, claims=claims, audiences=audiences, signed=bool(audiences))
                yield Ask(method="IssueToken", principal=user, ttl=1 if claims is fitting else 1e9)
                yield Ask(method="RunScopedQuery", principal=user, run=Run(statement="one", timeout=1e-3))
                yield Ask(method="RunScopedQuery", principal=user, run=Run(free=True, max_rows=1))
                yield Ask(method="RunScopedTransaction", principal=user, run=Run(free=True, timeout=1e-3))


def _fitting(rule: ClaimRule) -> Any:
    """A value that the rule allows a caller to send; None where it is to send none."""
    if not isinstance(rule, ListedClaim):
        return None
    if rule.any:
        return SENT
    return rule.scalars[0] if rule.scalars else "".join(rule.texts[0].parts)


def _decision(policy: Policy, caller: Caller, rules: Rules, ask: Ask) -> None:
    """What is decided is what is explained, within what the rules open."""
    steps = explain(policy, caller, ask)
    assert SENT not in repr(steps), "the explanation holds what was sent"
    first = next((step for step in steps if step.verdict is Verdict.REFUSE), None)
    try:
        grant = decide(policy, caller, ask)
    except UsherError as error:
        refused = error
    else:
        assert first is None, "it allows what the explanation refuses"
        assert ask.method in rules.methods
        _granted(grant, rules, ask)
        return
    assert first is not None, "it refuses what the explanation allows"
    assert (refused.reason, refused.metadata["rule"]) == (Reason.POLICY_REFUSED, first.rule)


def _granted(grant: Grant, rules: Rules, ask: Ask) -> None:
    assert (grant.read_only, grant.max_ttl) == (rules.read_only, rules.max_ttl)
    assert (grant.max_rows, grant.statement_timeout) == (rules.max_rows, rules.statement_timeout)
    assert grant.claims.keys() <= rules.claims.keys()
    assert grant.role in (rules.roles.default, *rules.roles.by_value.values())
    if ask.method in ("RunScopedQuery", "RunScopedTransaction"):
        run = ask.run or Run(free=True)
        assert rules.free_sql or (not run.free and run.statement in rules.statements)
    if ask.principal is not None:
        assert rules.subjects, "a subject, where no entry is"
        assert rules.other_claims or ask.principal.claims.keys() <= rules.claims.keys()


if __name__ == "__main__":
    sys.exit(engine.main(one, SEEDS))
