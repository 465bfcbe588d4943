"""The policy file: every field arrives, every mistake is named with its line, no message holds a value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config import PolicyFileError, load_policy, parse_policy
from sidecar.config.policy_table import Problem
from sidecar.core.callers import CallerIdentity
from sidecar.core.errors import SettingsError
from sidecar.core.policy.claim_rules import DerivedClaim, FixedClaim, ListedClaim
from sidecar.core.policy.patterns import parse
from sidecar.core.policy.rules import Rate, RoleRules, Rules

HASH = "ab" * 32
FULL = f"""\
[callers.orders]
spiffe_id = "spiffe://example.org/ns/shop/orders"
dns = ["orders.internal", "orders.shop"]
uid = 1000
gid = [1000, 1001]
service_account = [
  {{ issuer = "https://k8s", namespace = "shop", name = "orders" }},
  {{ issuer = "https://other", subject = "orders" }},
]
key_sha256 = "{HASH}"
admin = true
methods = ["IssueToken", "RotateKeys"]
subjects = ["user-*", "robot"]
audiences = "billing"
other_claims = true
sql = ["one", "two"]
read_only = false
max_ttl = "10m"
max_rows = 50
statement_timeout = "250ms"
rate_limit = {{ per_second = 0.5, burst = 3 }}
claims.tenant = {{ any = true, required = true }}
claims.permissions = {{ values = ["orders:*", 7, true] }}
claims.app = {{ fixed = ["shop", 1.0] }}
claims.ns = {{ from = "namespace" }}

[callers.orders.roles]
default = "reader"
claim = "role"
map = {{ editor = "app editor" }}

[callers.anonymous]
methods = ["VerifyToken"]
"""


def test_every_field() -> None:
    policy = parse_policy(FULL, "policy.toml", {"one", "two"})
    assert policy.callers["orders"] == Rules(
        admin=True,
        methods=frozenset({"IssueToken", "RotateKeys"}),
        subjects=(parse("user-*"), parse("robot")),
        audiences=(parse("billing"),),
        claims={
            "tenant": ListedClaim(any=True, required=True),
            "permissions": ListedClaim(texts=(parse("orders:*"),), scalars=(7, True)),
            "app": FixedClaim(value=["shop", 1]),
            "ns": DerivedClaim(attribute="namespace"),
        },
        other_claims=True,
        statements=frozenset({"one", "two"}),
        read_only=False,
        roles=RoleRules(default="reader", claim="role", by_value={"editor": "app editor"}),
        max_ttl=600,
        max_rows=50,
        statement_timeout=0.25,
        rate_limit=Rate(per_second=0.5, burst=3),
    )
    assert policy.callers["anonymous"] == Rules(methods=frozenset({"VerifyToken"}))
    assert policy.identities == (
        CallerIdentity(
            name="orders",
            admin=True,
            spiffe_ids=("spiffe://example.org/ns/shop/orders",),
            dns_names=("orders.internal", "orders.shop"),
            uids=(1000,),
            gids=(1000, 1001),
            service_accounts=(
                ("https://k8s", "system:serviceaccount:shop:orders"),
                ("https://other", "orders"),
            ),
            key_hashes=(HASH,),
        ),
    )


def test_a_caller_without_rules_may_do_nothing() -> None:
    assert parse_policy("[callers.a]\nuid = 0", "p").callers["a"] == Rules()
    assert parse_policy("[callers.a]\nuid = 0\nsql = 'free'", "p").callers["a"].free_sql


def problems(text: str, statements: set[str] | None = None) -> list[str]:
    with pytest.raises(PolicyFileError) as caught:
        parse_policy(text, "p", statements)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("lines", "number", "expected"),
    [
        ("methods = 7", 3, "methods: must be a text, or an array of texts"),
        ("methods = [\n'IssueToken',\n7]", 5, "methods[1]: must be a text"),
        ("methods = ['IssueTokn']", 3, "methods[0]: there is no such method; did you mean IssueToken?"),
        ("methods = 'zzz'", 3, "methods: there is no such method; known are IssueToken"),
        ("methods = 'ListKeys'", 3, "methods: this method is for admins; add admin = true"),
        ("method = ['IssueToken']", 3, "method: there is no such key; did you mean methods?"),
        ("\n\n'od\\nd' = 1", 5, "'od\\\\nd': there is no such key; known are"),
        ("admin = 1", 3, "admin: must be true or false"),
        ("subjects = ['a', '*****']", 3, "subjects[1]: must have at most 4 stars"),
        ("audiences = ''", 3, "audiences: must not be empty"),
        ("spiffe_id = 'spiffe://Example.org/*'", 3, "spiffe_id: must be a SPIFFE ID"),
        ("dns = '*.internal'", 3, "dns: must be a DNS name"),
        ("gid = -1", 3, "gid: must be whole numbers from 0 to 4294967294"),
        ("gid = [true]", 3, "gid: must be whole numbers"),
        ("key_sha256 = 'AB'", 3, "key_sha256: must be 64 hexadecimal digits"),
        ("service_account = 1", 3, "service_account: must be a table, or an array of tables"),
        ("service_account = [1]", 3, "service_account[0]: must be a table"),
        ("service_account = { issuer = 'i' }", 3, "service_account: give issuer and subject, or"),
        ("service_account = {issuer='i',subject='s',name='n'}", 3, "service_account: give issuer and"),
        (
            "service_account = {issuer='i',subject=''}",
            3,
            "service_account.subject: must be a text",
        ),
        ("service_account = {issuer='i',subject='s',x=1}", 3, "service_account.x: there is no such key"),
        ("max_ttl = 0", 3, "max_ttl: must be a duration between 1 s and"),
        ("max_ttl = '1.5s'", 3, "max_ttl: must be whole seconds"),
        ("max_ttl = 'soon'", 3, "max_ttl: must be a duration such as"),
        ("max_ttl = true", 3, "max_ttl: must be a duration"),
        ("max_rows = 0", 3, "max_rows: must be a whole number from 1 to"),
        ("max_rows = 1.0", 3, "max_rows: must be a whole number"),
        ("statement_timeout = '2h'", 3, "statement_timeout: must be a duration between 0.001 s and 3600 s"),
        ("statement_timeout = nan", 3, "statement_timeout: must be a duration between"),
        ("rate_limit = 5", 3, "rate_limit: must be a table"),
        ("rate_limit = { burst = 5 }", 3, "rate_limit: needs per_second"),
        ("rate_limit = { per_second = 0 }", 3, "rate_limit.per_second: must be a number from 0.001"),
        ("rate_limit = { per_second = inf }", 3, "rate_limit.per_second: must be a number from 0.001"),
        ("rate_limit = { per_second = 1, burst = 0 }", 3, "rate_limit.burst: must be a whole number"),
        ("rate_limit = { per_second = 1, brust = 1 }", 3, "rate_limit.brust: there is no such key; did you"),
        ("sql = 'fre'", 3, 'sql: must be "free", or an array of names'),
        ("sql = [\n'one',\n'tow']", 5, "sql[1]: there is no such named statement; did you mean two?"),
        ("sql = ['Bad Name']", 3, "sql[0]: must be the name of a statement"),
        ("sql = ['zzzzzzzz']", 3, "sql[0]: there is no such named statement; its file must be in"),
        ("roles = { default = 'None' }", 3, "roles.default: must be the name of a Postgres role"),
        ("roles = { default = 1 }", 3, "roles.default: must be the name of a Postgres role"),
        ("roles = { claim = 'role' }", 3, "roles: claim and map go together"),
        ("roles.claim = 'role'\nroles.map.x = 1", 4, "roles.map: must be the name of a Postgres role"),
        ("claims = 1", 3, "claims: must be a table"),
        ("claims.sub = { any = true }", 3, "claims.sub: is a registered claim"),
        ("claims.'a\"b' = { any = true }", 3, "claims.'a\"b': a claim name must be 1 to 128 printable"),
        ("claims.x = 'acme'", 3, "claims.x: must be a table"),
        ("claims.x = {}", 3, "claims.x: give exactly one of any = true, values, fixed, from"),
        ("claims.x = { any = true, fixed = 1 }", 3, "claims.x: give exactly one of"),
        ("claims.x = { any = false }", 3, "claims.x.any: must be true"),
        ("claims.x = { value = [1] }", 3, "claims.x.value: there is no such key; did you mean values?"),
        ("claims.x = { values = [] }", 3, "claims.x.values: must be an array"),
        ("claims.x = { values = 'a' }", 3, "claims.x.values: must be an array"),
        ("claims.x.values = [\n1,\n[2]]", 5, "claims.x.values[1]: must be a text, a number"),
        ("claims.x.values = ['\\']", 3, "claims.x.values[0]: a backslash stands only before"),
        ("claims.x = { from = 'password' }", 3, "claims.x.from: must be one of spiffe_id, dns"),
        ("claims.x = { from = 'dns', required = true }", 3, "claims.x.required: the sidecar sets this claim"),
        ("claims.x = { fixed = 1979-05-27 }", 3, "claims.x.fixed: must be what JSON has"),
        ("claims.x = { fixed = 9007199254740993 }", 3, "claims.x.fixed: is an integer of 2^53 or more"),
        ("claims.x = { fixed = nan }", 3, "claims.x.fixed: is not a finite number"),
        ("claims.sid = { fixed = 7 }", 3, "claims.sid.fixed: must be a string"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_remedy(lines: str, number: int, expected: str) -> None:
    found = problems(f"[callers.orders]\nuid = 1\n{lines}\n", {"one", "two"})
    assert [problem for problem in found if problem.startswith(f"p:{number}: callers.orders.{expected}")]
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["p:1: names no caller; write a table [callers.NAME]"]),
        (
            "callers = 1",
            ["p:1: callers: must be a table", "p:1: names no caller; write a table [callers.NAME]"],
        ),
        (
            "\n[caller.a]\nuid = 1",
            ["p:1: names no caller", "p:2: caller: there is no such key; did you mean c"],
        ),
        ("[callers]\na = 1", ["p:2: callers.a: must be a table"]),
        ("[callers.Orders]\nuid = 1", ["p:1: callers.Orders: a caller's name is a lower case letter"]),
        ("[callers.a]", ["p:1: callers.a: nothing proves who it is; give spiffe_id"]),
        ("[callers.anonymous]\nuid = 1", ["p:2: callers.anonymous.uid: the caller anonymous is whoever"]),
        ("[callers.anonymous]\nadmin = true", ["p:2: callers.anonymous.admin: an admin must prove who"]),
        ("\nx = ", ["p:2: is not TOML: Invalid value"]),
        ("[callers.a]\nuid = 1\nuid = 2", ["p:3: is not TOML: Cannot overwrite a value"]),
        ("a = '''\n\n", ["p:1: is not TOML:"]),
        ("x = " + "9" * 5000, ["p:1: holds a number or nesting too large to read"]),
        ("x = " + "[" * 5000 + "]" * 5000, ["p:1: holds a number or nesting too large to read"]),
    ],
)
def test_mistakes_of_the_whole(text: str, expected: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(start)


def test_every_mistake_is_named_in_the_order_of_lines() -> None:
    text = "[callers.b]\nx = 1\nuid = 'a'\n[callers.a]\ny = 1\nuid = 1\nmax_rows = 0\n"
    assert [problem.split(":")[1] for problem in problems(text)] == ["2", "3", "5", "7"]
    many = "".join(f"[callers.c{number}]\n" for number in range(30))
    found = problems(many)
    assert len(found) == 21
    assert found[-1] == "p: and 10 more"


@pytest.mark.parametrize(
    ("one", "other", "line", "key"),
    [
        ("dns = 'a.b'", "dns = ['c', 'a.b']", 4, "dns"),
        ("spiffe_id = 'spiffe://a/b'", "spiffe_id = 'spiffe://a/b'", 4, "spiffe_id"),
        (f"key_sha256 = '{HASH}'", f"key_sha256 = '{HASH}'", 4, "key_sha256"),
        (
            "service_account = {issuer='i',namespace='n',name='a'}",
            "service_account = {issuer='i',subject='system:serviceaccount:n:a'}",
            4,
            "service_account",
        ),
        ("uid = 1", "uid = [2, 1]", 4, "uid"),
        ("uid = 1", "gid = 1", 4, "gid"),
        ("uid = 1", "uid = 1\ngid = 5", 4, "uid"),
    ],
)
def test_two_callers_cannot_be_one_connection(one: str, other: str, line: int, key: str) -> None:
    (problem,) = problems(f"[callers.a]\n{one}\n[callers.b]\n{other}\n")
    assert problem.startswith(f"p:{line}: callers.b.{key}: ")
    assert "callers.a" in problem


def test_callers_told_apart_by_uid_and_gid() -> None:
    parse_policy("[callers.a]\nuid = 1\ngid = 5\n[callers.b]\nuid = 1\ngid = 6\n[callers.c]\nuid = 2\n", "p")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    for write, expected in (
        (lambda: None, f"{file}: cannot be read (No such file or directory)"),
        (lambda: file.write_bytes(b"\n\n\xff"), f"{file}:3: is not UTF-8 text"),
        (lambda: file.write_text("#" * 1024**2 + "\n"), f"{file}: is larger than 1024 KiB"),
    ):
        write()
        with pytest.raises(SettingsError) as caught:
            load_policy(file)
        assert str(caught.value).startswith(expected)
    file.write_text(FULL)
    assert set(load_policy(file).callers) == {"orders", "anonymous"}


# --- anything at all ---

SECRET = "zqxmarked"
KNOWN = (
    *("methods", "subjects", "audiences", "claims", "other_claims", "sql", "read_only", "roles"),
    *("max_ttl", "max_rows", "statement_timeout", "rate_limit", "admin"),
    *("spiffe_id", "dns", "uid", "gid", "service_account", "key_sha256"),
)
INNER = (
    *("any", "values", "fixed", "from", "required", "default", "claim", "map", "issuer", "subject"),
    *("per_second", "burst", "tenant", "sub"),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [SECRET, f"{SECRET}*", "", 0, -1, 10**400, 0.5, float("nan"), True, "IssueToken", "free"]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(INNER),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KNOWN), values, max_size=6))
def test_any_content_is_read_or_refused_without_its_values(content: dict[str, Any]) -> None:
    text = "[callers.a]\nuid = 7\n" if "uid" not in content else "[callers.a]\n"
    text += "".join(f"{key} = {_toml(value)}\n" for key, value in content.items())
    tomllib.loads(text)
    for problem in refused(text):
        assert SECRET not in problem.text
        assert problem.line <= text.count("\n")


@settings(max_examples=300)
@given(st.data())
def test_a_good_file_with_a_piece_replaced(data: st.DataObject) -> None:
    """Whatever is done to a file, it is read or refused; nothing else is raised."""
    start = data.draw(st.integers(0, len(FULL)))
    end = data.draw(st.integers(start, min(len(FULL), start + 20)))
    text = FULL[:start] + data.draw(st.text("\"[]{}=\n,.a1\\#'\0", max_size=6)) + FULL[end:]
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in refused(text))


def refused(text: str) -> tuple[Problem, ...]:
    """What is wrong with a text; nothing when it is read."""
    try:
        parse_policy(text, "p", {"one", "two"})
    except PolicyFileError as error:
        return error.problems or (Problem(0, "refused without a word"),)
    return ()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)
