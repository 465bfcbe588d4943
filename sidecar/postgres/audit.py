"""What `usher db check` does: looks for everything in a database that would break what Usher promises.

Most checks are data: a file each in `sql/audit`, which gives the objects that are wrong and the SQL to mend
them. It begins with a comment: the severity, and what follows from the mistake. Its name is the finding's.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import asyncpg

from sidecar.core.errors import UsherError
from sidecar.postgres import installer
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.per_row import once_a_statement
from sidecar.postgres.signed_claims import TAMPERED

ROLES: Final = ("authenticated", "anonymous")
"""The roles that statements run as, unless others are named."""


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """A promise is broken."""
    WARNING = "warning"
    """A promise is weaker than it could be, or rests on something that only a person can judge."""
    NOTICE = "notice"
    """Worth knowing; breaks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake. `name` is stable; `fix` is SQL, or comments where a person must decide."""

    name: str
    severity: Severity
    object: str
    problem: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One file of `sql/audit`."""

    name: str
    severity: Severity
    problem: str
    sql: str


REINSTALL: Final = "-- usher db install --print | psql DATABASE"

NOT_INSTALLED: Final = Check(
    name="not_installed",
    severity=Severity.ERROR,
    problem="The SQL side of Usher is missing, or older than this Usher.",
    sql="",
)
CLAIMS_FORGED: Final = Check(
    name="claims_forged",
    severity=Severity.ERROR,
    problem="The function believes claims that any statement can make up.",
    sql="",
)
FUNCTION_CHANGED: Final = Check(
    name="function_changed",
    severity=Severity.ERROR,
    problem="What checks the claims is not as Usher installs it.",
    sql="",
)
POLICY_PER_ROW: Final = Check(
    name="policy_per_row",
    severity=Severity.NOTICE,
    problem="The policy asks for claims once a row, which costs some 20 us each: once a statement is enough.",
    sql="",
)
CODED: Final = (NOT_INSTALLED, CLAIMS_FORGED, FUNCTION_CHANGED, POLICY_PER_ROW)
"""Those that are no single query."""

_PROLOGUE: Final = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = error"

_FORGED_SUBJECT: Final = "00000000-0000-4000-8000-000000000000"
_FORGE: Final = f"""
SELECT set_config('request.jwt.claims', '{{"sub": "{_FORGED_SUBJECT}"}}', true)
"""
_BELIEVERS: Final = """
SELECT p.proname FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('auth') AND p.proname IN ('session', 'jwt', 'user_id', 'uid')
  AND p.pronargs = 0 AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_session_jwt')
ORDER BY p.proname
"""

_OURS: Final = """
SELECT p.oid::regprocedure::text AS name, p.prosrc AS body,
       -- A plan must not keep the claims of one user, and in a worker the backend is another one.
       p.provolatile = 'i' OR p.proparallel = 's' OR
       p.proname IN ('claims', 'not_revoked', 'revocations', 'tag_fits') AND NOT (
         p.prosecdef = (p.proname <> 'tag_fits') AND pg_get_userbyid(p.proowner) = 'usher_verifier'
         AND p.proconfig IS NOT DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
       ) AS misplaced
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('usher')
  OR p.pronamespace = to_regnamespace('auth') AND p.proname IN ('session', 'jwt', 'user_id', 'uid')
     AND p.pronargs = 0 AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_session_jwt')
ORDER BY 1
"""

INSTALLED: Final = (
    "usher.claims()",
    "usher.new_claim_key()",
    "usher.not_revoked()",
    "usher.revocations(text,text)",
    "usher.tag_fits(bytea,text)",
)
"""The functions of the schema usher."""

_POLICIES: Final = """
SELECT format('%I ON %s', p.polname, p.polrelid::regclass) AS name,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check
FROM pg_policy AS p
ORDER BY 1
"""


@functools.cache
def checks() -> tuple[Check, ...]:
    """All checks, those without a file first."""
    folder = resources.files("sidecar.postgres") / "sql" / "audit"
    files = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir()}
    common = files.pop("common.sql")
    return CODED + tuple(_check(name, text, common) for name, text in sorted(files.items()))


async def audit(connection: asyncpg.Connection[Any], roles: Sequence[str] = ROLES) -> list[Finding]:
    """Everything that is wrong, the worst first. Changes nothing.

    `roles`: those that scoped statements run as. The connection's user must be able to read usher.claim_key:
    the owner of the SQL side, or a superuser. Raises UsherError.
    """
    try:
        if await installer.installed_version(connection) < installer.scripts()[-1].version:
            return [_finding(NOT_INSTALLED, "usher", "-- usher db install")]
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(_PROLOGUE)
            found = [
                *await _forged(connection),
                *await _changed(connection),
                *await _per_row(connection),
            ]
            for check in checks():
                if check.sql:
                    rows = await connection.fetch(check.sql, list(roles))
                    found += [_finding(check, row["object"], row["fix"]) for row in rows]
    except DRIVER_ERRORS as error:
        raise _explained(error) from None
    order = list(Severity)
    return sorted(found, key=lambda one: (order.index(one.severity), one.name, one.object))


async def _forged(connection: asyncpg.Connection[Any]) -> list[Finding]:
    """Tries to forge claims, in each function of ours that policies ask.

    Those of pg_session_jwt believe plain claims here, but not in the sidecar's sessions, which have a key:
    there check_database.py tries.
    """
    found = []
    for name in [row["proname"] for row in await connection.fetch(_BELIEVERS)]:
        try:
            async with connection.transaction():  # a savepoint
                await connection.execute(_FORGE)
                told = await connection.fetchval(f"SELECT auth.{name}()::text")
                if told is not None and _FORGED_SUBJECT in told:
                    found.append(_finding(CLAIMS_FORGED, f"auth.{name}()", REINSTALL))
        except asyncpg.PostgresError as error:
            if error.sqlstate != TAMPERED:
                raise
    return found


async def _changed(connection: asyncpg.Connection[Any]) -> list[Finding]:
    installed = "\n".join(script.up for script in installer.scripts())
    rows = {row["name"]: row for row in await connection.fetch(_OURS)}
    wrong = [name for name, row in rows.items() if row["misplaced"] or row["body"] not in installed]
    missing = [name for name in INSTALLED if name not in rows]
    return [_finding(FUNCTION_CHANGED, name, REINSTALL) for name in wrong + missing]


async def _per_row(connection: asyncpg.Connection[Any]) -> list[Finding]:
    found = []
    for row in await connection.fetch(_POLICIES):
        parts = [
            f"{clause} ({better})"
            for clause, expression in (("USING", row["using"]), ("WITH CHECK", row["with_check"]))
            if expression is not None and (better := once_a_statement(expression)) != expression
        ]
        if parts:
            found.append(
                _finding(POLICY_PER_ROW, row["name"], f"ALTER POLICY {row['name']} {' '.join(parts)};")
            )
    return found


def _finding(check: Check, what: str, fix: str) -> Finding:
    if fix.startswith("--"):
        # A name may hold a line break, which would end the comment.
        fix = "\n".join(line if line.startswith("--") else f"-- {line}" for line in fix.splitlines())
    shown = "".join(character if character.isprintable() else "?" for character in what)
    return Finding(name=check.name, severity=check.severity, object=shown, problem=check.problem, fix=fix)


def _check(file: str, text: str, common: str) -> Check:
    head = re.match(r"-- (\w+): (.*\n(?:-- .*\n)*)", text)
    assert head is not None, file
    return Check(
        name=file.removesuffix(".sql"),
        severity=Severity(head[1]),
        problem=" ".join(head[2].replace("\n-- ", " ").split()),
        sql=f"{common}\n{text[head.end() :]}",
    )


def _explained(error: BaseException) -> UsherError:
    translated = translate(error, show_message=True)
    if getattr(error, "sqlstate", "") == "42501":
        message = f"connect as the owner of Usher's SQL side, or as a superuser: {translated.message}"
        return UsherError(translated.reason, message, translated.metadata)
    return translated
