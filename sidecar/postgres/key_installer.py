"""What `usher keys install` does: the schema of the key store, by numbered scripts, and its logins."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import asyncpg

from sidecar.core.errors import SettingsError
from sidecar.core.key_store import Outcome
from sidecar.postgres.errors import DRIVER_ERRORS, translate
from sidecar.postgres.installer import Script, known_version, recorded, scripts
from sidecar.postgres.key_store import PostgresKeyStore
from sidecar.postgres.logins import scram_verifier

CHAIN: Final = "keys"
SIDECAR: Final = "usher_keys"
"""The role of a sidecar's login."""
EDGE: Final = "usher_keys_edge"
"""The role of a login that reads public keys only."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PROLOGUE: Final = """
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_catalog.pg_advisory_xact_lock(1970497638);
"""
_LEDGER: Final = """
CREATE SCHEMA IF NOT EXISTS usher_keys;
CREATE TABLE IF NOT EXISTS usher_keys.schema_version (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
"""


def printable() -> str:
    """Everything that `install` would run on an empty database, for review."""
    parts = ["BEGIN;", _PROLOGUE.strip(), _LEDGER.strip()]
    for script in scripts(CHAIN):
        parts += [
            f"-- Step {script.version}: {script.name}",
            script.up.strip(),
            recorded(script, "usher_keys"),
        ]
    parts.append("COMMIT;")
    return "\n\n".join(parts) + "\n"


async def install(connection: asyncpg.Connection[Any]) -> list[Script]:
    """Brings the key store to the newest version; returns the steps that were due.

    The connection's user needs CREATEROLE and CREATE on the database. Raises UsherError or SettingsError;
    nothing is changed then.
    """
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_PROLOGUE)
            await connection.execute(_LEDGER)
            version = await _version(connection)
            due = [script for script in scripts(CHAIN) if script.version > version]
            for script in due:
                await connection.execute(script.up)
                await connection.execute(recorded(script, "usher_keys"))
            return due
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def uninstall(connection: asyncpg.Connection[Any]) -> list[Script]:
    """Takes the steps back, and every key with them. Roles and logins stay. Raises UsherError."""
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_PROLOGUE)
            if await connection.fetchval("SELECT to_regclass('usher_keys.schema_version')") is None:
                return []
            version = await _version(connection)
            undone = [script for script in reversed(scripts(CHAIN)) if script.version <= version]
            for script in undone:
                await connection.execute(script.down)
            await connection.execute("DROP TABLE usher_keys.schema_version")
            await connection.execute("DROP SCHEMA usher_keys")
            return undone
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def make_login(connection: asyncpg.Connection[Any], name: str, role: str) -> str:
    """Makes a login for SIDECAR or EDGE, or gives the one that exists a new password; returns the password.

    Raises UsherError or SettingsError; nothing is changed then.
    """
    check_login(name)
    password = secrets.token_urlsafe(24)
    try:
        async with connection.transaction():
            await connection.execute(
                f"DO $$ BEGIN IF pg_catalog.to_regrole('{name}') IS NULL THEN CREATE ROLE {name}; END IF; "
                "END $$;"
                f"ALTER ROLE {name} LOGIN INHERIT PASSWORD '{scram_verifier(password)}';"
                f"GRANT {role} TO {name};"
            )
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None
    return password


def check_login(name: str) -> None:
    """Raises SettingsError for what cannot name a login."""
    if not _NAME.fullmatch(name) or name in (SIDECAR, EDGE):
        raise SettingsError(
            f"login: 1 to 63 lower-case letters, digits and _; not {SIDECAR} or {EDGE}, which are roles"
        )


async def has_keys(connection: asyncpg.Connection[Any]) -> bool:
    """Whether there is a store with a key in it. Raises UsherError."""
    try:
        if await connection.fetchval("SELECT to_regclass('usher_keys.key')") is None:
            return False
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM usher_keys.key)"))
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def reseal(store: PostgresKeyStore) -> int:
    """Seals every private key by the first key-encryption key; returns how many were sealed by another.

    Raises as KeyStore.
    """
    while True:
        ring = (await store.load()).ring
        due = len(store.resealable)
        # Whatever is stored is sealed afresh.
        if not due or (await store.swap(ring.version, ring)).outcome is Outcome.STORED:
            return due


async def _version(connection: asyncpg.Connection[Any]) -> int:
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM usher_keys.schema_version")
    return known_version(int(version), scripts(CHAIN), "the key store")
