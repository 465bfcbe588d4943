"""What `usher doctor` asks of the database, whichever way the sidecar has to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.app.backends import PROBE_SUBJECT, opening
from sidecar.app.doctor_settings import policy_roles
from sidecar.config import Config
from sidecar.config.neon_settings import NEON_HTTP, neon_settings
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, failed, not_looked_at, ok, trouble, warning
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Event
from sidecar.core.issuer import Scope
from sidecar.postgres import audit, deployment, installer
from sidecar.postgres.audit import Finding, Severity
from sidecar.postgres.claim_key import ClaimKey
from sidecar.postgres.neon_http import deployment as neon
from sidecar.postgres.neon_http.exchange import Exchange
from sidecar.postgres.neon_http.watch import Watch
from sidecar.web.sql_client import SqlClient

AUDIT: Final = "audit"
OWN_CHECKS: Final = (
    deployment.DATABASE,
    neon.TOKEN,
    deployment.SAFE,
    deployment.KEY,
    deployment.ROLES,
    deployment.DENY_LIST,
    deployment.CLOCK,
)
CHECKS: Final = (*OWN_CHECKS, AUDIT)

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAsked:
    """Where `usher db check` looks. `database_url`: as an administrator, "" for nowhere.

    `accepted` are findings that are known, NAME or NAME:OBJECT; `roles` those of the policy when empty.
    """

    database_url: str = ""
    roles: Sequence[str] = ()
    accepted: Sequence[str] = ()


async def look(config: Config, clock: Clock, scope: Scope | None, *, published: bool) -> list[Diagnosis]:
    """Looks by the sidecar's own login, or for Neon by the token in `scope`, a running sidecar's.

    `published`: whether the key of that token is in the public set, as far as is known.
    """
    if not config.database_url:
        return [
            failed(
                deployment.DATABASE,
                "database_url is not set",
                "name your database, best as USHER_DATABASE_URL",
            ),
            *(not_looked_at(name, "no database is named") for name in deployment.CHECKS[1:]),
        ]
    if config.database_backend == NEON_HTTP:
        return await _neon(config, clock, scope, published=published)
    place = deployment.Deployment(
        pool=config.pool_settings,
        claims=config.claim_settings,
        key=_key(config),
        roles=policy_roles(config),
        wrap_connect=opening(config),
    )
    return await deployment.look(place, clock)


async def audited(config: Config, asked: AuditAsked) -> list[Diagnosis]:
    """What `usher db check` finds."""
    if not asked.database_url:
        return [
            not_looked_at(
                AUDIT,
                "tables and policies take a user who may see them all",
                "give --admin-database-url, or USHER_ADMIN_DATABASE_URL, or run `usher db check` elsewhere",
            )
        ]
    try:
        connection = await installer.connect(asked.database_url)
        try:
            findings = await audit.audit(connection, asked.roles or policy_roles(config))
        finally:
            await connection.close()
    except (UsherError, SettingsError) as error:
        text = error.message if isinstance(error, UsherError) else str(error)
        return [trouble(AUDIT, text.replace("database_url", "the administrator's URL"))]
    left = [one for one in findings if not {one.name, f"{one.name}:{one.object}"} & set(asked.accepted)]
    if config.database_backend == NEON_HTTP and any(one.name == audit.NOT_INSTALLED.name for one in left):
        return [
            not_looked_at(
                AUDIT,
                "the SQL side of Usher is not there, and neon-http does not need it",
                "`usher db install` on it as well, if `usher db check` is to look at your tables",
            )
        ]
    return _counted(left)


def _counted(left: Sequence[Finding]) -> list[Diagnosis]:
    remedy = "`usher db check` shows each, with the SQL that mends it"
    errors = [one for one in left if one.severity is Severity.ERROR]
    warnings = [one for one in left if one.severity is Severity.WARNING]
    found = []
    if errors:
        found.append(failed(AUDIT, f"{len(errors)} errors: {_named(errors)}", remedy))
    if warnings:
        found.append(warning(AUDIT, f"{len(warnings)} warnings: {_named(warnings)}", remedy))
    return found or [ok(AUDIT, f"{len(audit.checks())} checks of `usher db check` found nothing to mend")]


def _named(findings: Sequence[Finding]) -> str:
    names = ", ".join(f"{one.name} ({one.object})" for one in findings[:_SHOWN])
    return names + (", ..." if len(findings) > _SHOWN else "")


def _key(config: Config) -> ClaimKey | None:
    try:
        return ClaimKey.parse(config.claim_key) if config.claim_key else None
    except SettingsError:
        return None  # it is told among the settings


async def _neon(config: Config, clock: Clock, scope: Scope | None, *, published: bool) -> list[Diagnosis]:
    try:
        settings = neon_settings(config)
    except SettingsError as error:
        return [trouble(deployment.DATABASE, str(error)), *neon.unseen("Neon's host is not known")]
    client = SqlClient(
        config.neon_sql_url or settings.target.sql_url,
        1,
        Path(config.neon_ca_file) if config.neon_ca_file else None,
    )
    try:
        reached = await neon.reached(client.post, settings)
        found = [reached, neon.deny_list()]
        if scope is None:
            remedy = "start it, or name it with --address"
            return [*found, *neon.unseen("that takes a token of a running sidecar's", remedy=remedy)]
        if not published:
            return [
                *found,
                *neon.unseen(
                    "the token's key is not in the public set, and Neon hangs on one that it does not know"
                ),
            ]
        exchange = Exchange(client.post, _no_signature, settings, clock)
        watch = Watch(exchange, client.ping, lambda: scope, settings, clock, _nobody)
        roles = tuple(sorted({settings.role} | set(policy_roles(config)) - {config.database_role}))
        return [*found, *await neon.look(exchange, watch, scope, roles, clock)]
    finally:
        await client.close()


def probe(token: str, audiences: Sequence[str]) -> Scope:
    """The scope of a token for PROBE_SUBJECT."""
    return Scope(subject=PROBE_SUBJECT, payload={"sub": PROBE_SUBJECT, "aud": list(audiences)}, token=token)


def _no_signature(payload: object) -> str:
    raise UsherError(
        Reason.SIGNING_UNAVAILABLE, "the sidecar's token is not for neon_audience; give it that one"
    )


def _nobody(event: Event) -> None:
    """Nothing is served here, so nothing is to be logged."""
