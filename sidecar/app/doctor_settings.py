"""What `usher doctor` says of the settings themselves, without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sidecar.app.callers import build_callers
from sidecar.config import Config, load_policy, load_statements
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, failed, ok, warning
from sidecar.core.errors import SettingsError
from sidecar.core.events import Event
from sidecar.core.policy import Policy
from sidecar.core.rotation_settings import SAFE_LEAD_SECONDS, SHORTEST_LEAD_SECONDS
from sidecar.core.statements import Catalog

SETTINGS: Final = "settings"
FILES: Final = "files"
SAFETY: Final = "safety"
LEAD_TIME: Final = "lead_time"
CHECKS: Final = (SETTINGS, FILES, SAFETY, LEAD_TIME)

_LONG_TOKEN_SECONDS: Final = 3600


async def look(config: Config, wrong: Sequence[str], clock: Clock) -> list[Diagnosis]:
    """Looks at everything. `wrong`: what is wrong with the sources of the settings."""
    return [
        *(
            [failed(SETTINGS, text, "mend it; `usher settings` lists them all") for text in wrong]
            or [_changed(config)]
        ),
        *_files(config, clock),
        *_safety(config),
        _lead_time(config),
    ]


def policy_roles(config: Config) -> tuple[str, ...]:
    """Every role that statements may run as. Without those of a policy that cannot be read."""
    roles = {config.database_role}
    try:
        policy = load_policy(Path(config.policy_file)) if config.policy_file else None
    except SettingsError:
        policy = None
    for rules in policy.callers.values() if policy else ():
        roles |= {role for role in (rules.roles.default, *rules.roles.by_value.values()) if role is not None}
    return tuple(sorted(roles))


def _changed(config: Config) -> Diagnosis:
    default = Config()
    changed = sum(getattr(config, name) != getattr(default, name) for name in Config.__dataclass_fields__)
    return ok(SETTINGS, f"they can be served; {changed} are not the default")


def _files(config: Config, clock: Clock) -> list[Diagnosis]:
    """What is read when a sidecar starts: statements, policy, TLS."""
    found = []
    catalog: Catalog | None = None
    try:
        catalog = (
            load_statements(Path(config.statements_dir), config.max_sql_bytes)
            if config.statements_dir
            else Catalog()
        )
    except SettingsError as error:
        found.append(failed(FILES, _line(error), "mend the file; the sidecar does not start with it"))
    policy: Policy | None = None
    try:
        if config.policy_file:
            policy = load_policy(Path(config.policy_file), catalog.names if catalog else None)
    except SettingsError as error:
        found.append(failed(FILES, _line(error), "`usher policy check` shows every mistake"))
    try:
        build_callers(config, policy, clock, _nobody)
    except SettingsError as error:
        found.append(failed(FILES, _line(error), "mend it; the sidecar does not start with it"))
    named = [name for name in ("statements_dir", "policy_file", "tls_cert_file") if getattr(config, name)]
    return found or [ok(FILES, f"{', '.join(named)} can be read" if named else "the settings name none")]


def _safety(config: Config) -> list[Diagnosis]:
    found = [
        warning(SAFETY, f"{setting}: {consequence}", "leave it out, if you can do without")
        for setting, consequence in config.weakened()
    ]
    return found or [ok(SAFETY, "no setting weakens it")]


def _lead_time(config: Config) -> Diagnosis:
    lead = config.rotation_lead_time
    remedy = f"set rotation_lead_time to {SAFE_LEAD_SECONDS} s or more"
    if lead < SHORTEST_LEAD_SECONDS:
        return failed(
            LEAD_TIME,
            f"a key signs {lead} s after it is published, and Neon keeps a set for 300 s and more",
            remedy,
        )
    if lead < SAFE_LEAD_SECONDS:
        return warning(
            LEAD_TIME,
            f"a key signs {lead} s after it is published, and verifiers may keep a set for an hour",
            remedy,
        )
    if config.max_token_ttl > _LONG_TOKEN_SECONDS:
        return warning(
            LEAD_TIME,
            f"a token may live for {config.max_token_ttl} s, and verifiers elsewhere hear of no revocation",
            "shorten max_token_ttl, or revoke the key in an emergency",
        )
    return ok(
        LEAD_TIME,
        f"a key is published {lead} s before it signs, and {config.rotation_settings.hold} s after it did",
    )


def _line(error: SettingsError) -> str:
    """A policy has a line for each mistake; a diagnosis has one."""
    lines = str(error).splitlines()
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def _nobody(event: Event) -> None:
    """Nothing is served here, so nothing is to be logged."""
