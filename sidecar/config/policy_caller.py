"""One caller of the policy file: what proves who it is, and what it may do."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from sidecar.config.policy_table import Table
from sidecar.config.sources import suggestion
from sidecar.core.callers import ANONYMOUS_NAME, ATTRIBUTES, CallerIdentity
from sidecar.core.claims import custom_claims
from sidecar.core.errors import UsherError
from sidecar.core.policy import patterns
from sidecar.core.policy.claim_rules import ClaimRule, DerivedClaim, FixedClaim, ListedClaim
from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, Rate, RoleRules, Rules
from sidecar.core.statements import is_statement_name

_IDENTITY: Final = ("spiffe_id", "dns", "uid", "gid", "service_account", "key_sha256")
_LARGEST_ID: Final = 2**32 - 2
_LONGEST_ROLE: Final = 63
_LONGEST_TTL: Final = 365 * 86_400
_MOST_ROWS: Final = 2**31 - 1


def identity(table: Table, name: str) -> CallerIdentity:
    """What proves that a connection is this caller."""
    found = CallerIdentity(
        name=name,
        admin=table.flag("admin", False),
        spiffe_ids=table.texts("spiffe_id", _spiffe_id),
        dns_names=table.texts("dns", _dns_name),
        uids=table.integers("uid", 0, _LARGEST_ID),
        gids=table.integers("gid", 0, _LARGEST_ID),
        service_accounts=tuple(
            account for each in table.tables("service_account") if (account := _service_account(each))
        ),
        key_hashes=table.texts("key_sha256", _key_hash),
    )
    given = [key for key in _IDENTITY if table.has(key)]
    if name != ANONYMOUS_NAME:
        if not given:
            table.report.add(table.path, f"nothing proves who it is; give {', '.join(_IDENTITY)}")
        return found
    for key in given:
        table.wrong(key, "the caller anonymous is whoever proves nothing; leave it out")
    if found.admin:
        table.wrong("admin", "an admin must prove who it is; give a caller of another name")
    return found


def rules(table: Table, name: str, statements: Collection[str] | None) -> Rules:
    """What this caller may do; whether it is an admin belongs to its identity."""
    is_admin = table.raw("admin") is True
    free_sql, named = _sql(table, statements)
    burst_and_rate = table.table("rate_limit")
    return Rules(
        methods=frozenset(table.texts("methods", lambda method: _method(method, is_admin))),
        subjects=table.texts("subjects", patterns.parse),
        audiences=table.texts("audiences", patterns.parse),
        claims=_claims(table.table("claims")),
        other_claims=table.flag("other_claims", False),
        free_sql=free_sql,
        statements=named,
        read_only=table.flag("read_only", True),
        roles=_roles(table.table("roles")),
        max_ttl=_whole_seconds(table, "max_ttl", 1, _LONGEST_TTL),
        max_rows=table.integer("max_rows", 1, _MOST_ROWS),
        statement_timeout=table.seconds("statement_timeout", 0.001, 3600),
        rate_limit=_rate(burst_and_rate),
    )


def _spiffe_id(text: str) -> str:
    if not re.fullmatch(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*", text) or len(text) > 2048:
        raise ValueError("must be a SPIFFE ID such as spiffe://example.org/orders, without a pattern")
    return text


def _dns_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?", text):
        raise ValueError("must be a DNS name in lower case such as orders.internal, without a pattern")
    return text


def _key_hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("must be 64 hexadecimal digits in lower case; `usher policy new-key` makes a key")
    return text


def _service_account(table: Table) -> tuple[str, str] | None:
    issuer, subject = table.text("issuer"), table.text("subject")
    namespace, name = table.text("namespace"), table.text("name")
    table.close()
    if issuer is not None and subject is not None and namespace is None and name is None:
        return issuer, subject
    if issuer is not None and subject is None and namespace is not None and name is not None:
        return issuer, f"system:serviceaccount:{namespace}:{name}"
    table.report.add(table.path, "give issuer and subject, or issuer, namespace and name")
    return None


def _method(text: str, is_admin: bool) -> str:
    if text not in METHODS and text not in ADMIN_METHODS:
        hint = suggestion(text, (*METHODS, *ADMIN_METHODS))
        raise ValueError(f"there is no such method{hint or '; known are ' + ', '.join(METHODS)}")
    if text in ADMIN_METHODS and not is_admin:
        raise ValueError("this method is for admins; add admin = true")
    return text


def _sql(table: Table, statements: Collection[str] | None) -> tuple[bool, frozenset[str]]:
    value = table.raw("sql")
    if isinstance(value, str):
        if value != "free":
            table.wrong("sql", 'must be "free", or an array of names of statements')
        return value == "free", frozenset()

    def known(name: str) -> str:
        if not is_statement_name(name):
            raise ValueError("must be the name of a statement: a lower case letter, then letters, digits, _")
        if statements is not None and name not in statements:
            hint = suggestion(name, statements) or "; its file must be in statements_dir"
            raise ValueError(f"there is no such named statement{hint}")
        return name

    return False, frozenset(table.texts("sql", known))


def _whole_seconds(table: Table, key: str, low: int, high: int) -> int | None:
    seconds = table.seconds(key, low, high)
    if seconds is not None and not seconds.is_integer():
        table.wrong(key, "must be whole seconds")
        return None
    return None if seconds is None else int(seconds)


def _rate(table: Table | None) -> Rate | None:
    if table is None:
        return None
    per_second = table.number("per_second", 0.001, 1_000_000)
    burst = table.integer("burst", 1, 1_000_000)
    if not table.has("per_second"):
        table.report.add(table.path, "needs per_second, the calls that are allowed in a second")
    table.close()
    # Nothing is put in force when anything was reported, so this stands for no rate.
    return Rate.of(per_second or 0.001, burst)


def _role_name(table: Table, key: str, *, is_value: bool = False) -> str | None:
    """A role. A key that is the value of a claim is in no message."""
    text = table.raw(key)
    if (
        not isinstance(text, str)
        or not 1 <= len(text.encode()) <= _LONGEST_ROLE
        or "\0" in text
        or text.lower() == "none"
    ):
        path = table.path if is_value else (*table.path, key)
        problem = "must be the name of a Postgres role, at most 63 bytes, and not none"
        table.report.add(path, problem, line_of=(*table.path, key))
        return None
    return text


def _roles(table: Table | None) -> RoleRules:
    if table is None:
        return RoleRules()
    default = _role_name(table, "default") if table.has("default") else None
    claim = table.text("claim")
    mapped = table.table("map")
    by_value: dict[str, str] = {}
    for value in mapped.keys() if mapped is not None else ():
        assert mapped is not None
        if (role := _role_name(mapped, value, is_value=True)) is not None:
            by_value[value] = role
    if table.has("claim") != table.has("map"):
        table.report.add(table.path, "claim and map go together: which claim chooses, and what it may choose")
    table.close()
    return RoleRules(default=default, claim=claim, by_value=by_value)


def _claims(table: Table | None) -> dict[str, ClaimRule]:
    found: dict[str, ClaimRule] = {}
    for name in table.keys() if table is not None else ():
        assert table is not None
        try:
            custom_claims({name: ""})
        except UsherError as error:
            table.wrong(name, error.violations[0].description)
            continue
        rule = table.table(name)
        if rule is not None and (read := _claim(rule, name)) is not None:
            found[name] = read
    return found


def _claim(table: Table, name: str) -> ClaimRule | None:
    kinds = [key for key in ("any", "values", "fixed", "from") if table.has(key)]
    required, any_value = table.flag("required", False), table.flag("any", True)
    fixed, attribute = table.raw("fixed"), table.raw("from")
    texts, scalars = _values(table, table.raw("values")) if table.has("values") else ((), ())
    table.close()
    if len(kinds) != 1:
        table.report.add(table.path, "give exactly one of any = true, values, fixed, from")
        return None
    kind = kinds[0]
    if kind in ("fixed", "from") and table.has("required"):
        table.wrong("required", "the sidecar sets this claim; leave it out")
    if kind == "fixed":
        return _fixed(table, name, fixed)
    if kind == "from":
        if not isinstance(attribute, str) or attribute not in ATTRIBUTES:
            table.wrong("from", f"must be one of {', '.join(ATTRIBUTES)}")
            return None
        return DerivedClaim(attribute=attribute)
    if kind == "any" and not any_value:
        table.wrong("any", "must be true; without the claim here it cannot be sent")
    return ListedClaim(required=required, any=kind == "any", texts=texts, scalars=scalars)


def _values(table: Table, value: Any) -> tuple[tuple[patterns.Pattern, ...], tuple[Any, ...]]:
    if not isinstance(value, list) or not value:
        table.wrong("values", "must be an array of texts, numbers, true or false, not empty")
        return (), ()
    texts, scalars = [], []
    for index, item in enumerate(value):
        if isinstance(item, str):
            try:
                texts.append(patterns.parse(item))
            except ValueError as error:
                table.wrong("values", str(error), index)
        elif isinstance(item, bool | int | float):
            scalars.append(item)
        else:
            table.wrong("values", "must be a text, a number, true or false", index)
    return tuple(texts), tuple(scalars)


def _fixed(table: Table, name: str, value: Any) -> FixedClaim | None:
    if not _is_json(value):
        table.wrong("fixed", "must be what JSON has: texts, numbers, true, false, arrays and tables")
        return None
    try:
        return FixedClaim(value=custom_claims({name: value})[name])
    except UsherError as error:
        table.wrong("fixed", error.violations[0].description)
        return None


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return isinstance(value, bool | int | float | str)
