"""What `usher doctor` asks of Neon: a request without a usable token, and then as the sidecar does it.

The first one carries a token without a `kid`, which Neon refuses before it looks for any key: one that it
does not know would keep its verifier busy for minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sidecar.core import diagnosis
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, failed, not_looked_at, ok, trouble, warning
from sidecar.core.errors import UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.neon_http.batch import Query, batch_of_queries
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings, Post
from sidecar.postgres.neon_http.watch import Watch

DATABASE: Final = "database"
TOKEN: Final = "neon_token"
SAFE: Final = "database_safe"
ROLES: Final = "roles"
DENY_LIST: Final = "deny_list"
CLOCK: Final = "database_clock"

_NO_KID: Final = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"
"""`{"alg":"ES256"}`, no claims, and a signature that is none."""
_NO_KID_REFUSED: Final = "missing key id"
_NOW: Final = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8::pg_catalog.text"
_ROLE: Final = """
SELECT (rolsuper OR rolbypassrls)::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_SECONDS: Final = 20.0


async def reached(post: Post, settings: NeonSettings) -> Diagnosis:
    """Whether it is Neon that answers POST /sql there."""
    headers = {
        "Authorization": f"Bearer {_NO_KID}",
        "Neon-Connection-String": settings.target.connection_string(settings.role),
        "Content-Type": "application/json",
    }
    try:
        status, body = await post(headers, b'{"query":"SELECT 1"}')
    except ConnectionError as error:
        return trouble(DATABASE, str(error))
    try:
        document = json.loads(body or b"")
        said = str(document.get("message", "")) if isinstance(document, dict) else ""
    except (ValueError, RecursionError):
        said = ""
    if status == 400 and _NO_KID_REFUSED in said.lower():
        return ok(DATABASE, "Neon answers POST /sql, and checks tokens")
    if status == 200:
        return failed(
            DATABASE, "a statement ran without a valid token", "that is not Neon: look at database_url"
        )
    return failed(
        DATABASE,
        f"what answers POST /sql ({status}) does not refuse a token as Neon does",
        "look at the host in database_url, and at neon_sql_url",
    )


async def look(
    exchange: Exchange, watch: Watch, scope: Scope, roles: Sequence[str], clock: Clock
) -> list[Diagnosis]:
    """Looks as the scope's subject, by its token."""
    refused = await _refused(exchange, scope)
    if refused is not None:
        return [trouble(TOKEN, refused.message), *unseen("Neon ran nothing with the token", TOKEN)]
    problem = await watch.look()
    return [
        ok(TOKEN, "Neon takes a token of the sidecar's"),
        trouble(SAFE, problem.message) if problem else ok(SAFE, "the subject is told, and cannot be forged"),
        *await _roles(exchange, scope, roles),
        await _clock(exchange, scope, clock),
    ]


def unseen(why: str, *but: str, remedy: str = "") -> list[Diagnosis]:
    """For what takes a token that Neon takes."""
    return [not_looked_at(name, why, remedy) for name in (TOKEN, SAFE, ROLES, CLOCK) if name not in but]


def deny_list() -> Diagnosis:
    """There is no table for it."""
    return warning(
        DENY_LIST,
        "each sidecar has a list of its own, which a restart empties and which Neon does not ask",
        "keep token_ttl short",
    )


async def _refused(exchange: Exchange, scope: Scope) -> UsherError | None:
    try:
        await _asked(exchange, scope, _NOW)
    except UsherError as error:
        return error
    return None


async def _roles(exchange: Exchange, scope: Scope, roles: Sequence[str]) -> list[Diagnosis]:
    found = []
    for role in roles:
        as_role = Scope(subject=scope.subject, payload=scope.payload, role=role, token=scope.token)
        try:
            exempt = await _asked(exchange, as_role, _ROLE)
        except UsherError as error:
            seen, _, remedy = error.message.partition("; ")
            found.append(
                failed(ROLES, f"as {role}: {seen}", remedy or "let the role log in, and register it")
            )
        else:
            if exempt != "false":
                found.append(failed(ROLES, f"{role} is exempt from row-level security", "use authenticated"))
    count = len(roles)
    return found or [ok(ROLES, f"{count} role{'s' * (count > 1)}, each to be had by a token")]


async def _clock(exchange: Exchange, scope: Scope, clock: Clock) -> Diagnosis:
    before = clock.now()
    try:
        there = float(await _asked(exchange, scope, _NOW) or 0)
    except UsherError as error:
        return not_looked_at(CLOCK, error.message)
    return diagnosis.clock(CLOCK, (before + clock.now()) / 2 - there, "the database's")


async def _asked(exchange: Exchange, scope: Scope, sql: str) -> str | None:
    batch = batch_of_queries([Query(sql=sql)], _SECONDS, exchange.seed())
    found = await exchange.send(scope, batch, _SECONDS, read_only=True)
    return found[0].rows[0][0]
