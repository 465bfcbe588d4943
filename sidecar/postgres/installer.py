"""What `usher db install` does: numbered SQL scripts, applied once each, in one transaction.

The scripts are in `sql/`; which of them a database has is kept in the table usher.schema_version. Each may be
run again over itself.
"""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import asyncpg

from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.postgres.errors import DRIVER_ERRORS, connection_trouble, translate
from sidecar.postgres.logins import MARKER, logins_script
from sidecar.postgres.pool import check_database_url

_PROLOGUE: Final = """
-- Names are Postgres' own, whatever else the database holds; two installers wait for each other.
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_catalog.pg_advisory_xact_lock(1970497637);
"""

_LEDGER: Final = """
CREATE SCHEMA IF NOT EXISTS usher;
CREATE TABLE IF NOT EXISTS usher.schema_version (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
"""

_FUNCTIONS_MISSING: Final = """
SELECT NOT EXISTS (
  SELECT FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
  WHERE n.nspname = 'auth' AND f.proname = 'session' AND f.pronargs = 0
)
"""
"""After `DROP EXTENSION pg_session_jwt`: the scripts have made none of their own beside its."""

OLDEST_POSTGRES: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One step of the schema: its number, name and SQL both ways."""

    version: int
    name: str
    up: str
    down: str


def scripts(chain: str = "") -> tuple[Script, ...]:
    """All steps of a chain, in order: of scoped statements, or of another folder."""
    folder = resources.files("sidecar.postgres") / "sql" / chain
    found = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if match := re.fullmatch(r"(\d{4})_(\w+)\.up\.sql", entry.name):
            down = folder / entry.name.replace(".up.", ".down.")
            found.append(
                Script(
                    version=int(match[1]),
                    name=match[2],
                    up=entry.read_text("utf-8"),
                    down=down.read_text("utf-8"),
                )
            )
    return tuple(found)


def demo_script() -> str:
    """The SQL of the demo tables, policies and rows."""
    return (resources.files("sidecar.postgres") / "sql" / "demo.sql").read_text("utf-8")


def printable(login_role: str | None) -> str:
    """Everything that `install` would run on an empty database, for review. It may be run, again too.

    Raises SettingsError for a name that no role can have.
    """
    parts = ["BEGIN;", _PROLOGUE.strip(), _LEDGER.strip()]
    for script in scripts():
        parts += [f"-- Step {script.version}: {script.name}", script.up.strip(), recorded(script)]
    if login_role is not None:
        parts += ["-- Lets the login run scoped statements.", _grants(login_role)]
    parts.append("COMMIT;")
    return "\n\n".join(parts) + "\n"


async def connect(database_url: str, timeout: float = 10.0) -> asyncpg.Connection[Any]:
    """An administrator's connection.

    Raises UsherError when there is none to be had, SettingsError for a URL that is none or a Postgres that is
    too old.
    """
    check_database_url(database_url)
    try:
        connection = await asyncpg.connect(
            database_url, timeout=timeout, server_settings={"application_name": "usher-db"}
        )
    except DRIVER_ERRORS as error:
        raise UsherError(Reason.DATABASE_UNAVAILABLE, connection_trouble(error)) from None
    if connection.get_server_version().major < OLDEST_POSTGRES:
        await connection.close()
        raise SettingsError(f"the database is older than PostgreSQL {OLDEST_POSTGRES}; upgrade it")
    return connection


async def installed_version(connection: asyncpg.Connection[Any]) -> int:
    """The number of the last step that this database has; 0 for none. Raises UsherError."""
    try:
        if await connection.fetchval("SELECT pg_catalog.to_regclass('usher.schema_version')") is None:
            return 0
        return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM usher.schema_version"))
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def install(
    connection: asyncpg.Connection[Any], login_role: str | None = None, *, up_to: int | None = None
) -> list[Script]:
    """Brings the database to the newest version; returns the steps that were due, none when it has all.

    `login_role` is an existing login that may then run scoped statements; `up_to` the last step to take. The
    connection's user needs CREATEROLE and CREATE on the database. Raises UsherError or SettingsError; nothing
    is changed then.
    """
    grants = None if login_role is None else _grants(login_role)
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_PROLOGUE)
            await connection.execute(_LEDGER)
            version = await _known_version(connection)
            if await connection.fetchval(_FUNCTIONS_MISSING):
                version = 0
            last = up_to or scripts()[-1].version
            due = [script for script in scripts() if version < script.version <= last]
            for script in due:
                await connection.execute(script.up)
                await connection.execute(recorded(script))
            if grants is not None:
                await connection.execute(grants)
            return due
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def make_logins(
    connection: asyncpg.Connection[Any], prefix: str, count: int, *, password: str | None = None
) -> str:
    """Makes `count` logins for the sidecar with one password, and returns it: a new one when None.

    Logins that exist get it as well. Raises UsherError or SettingsError; nothing is changed then.
    """
    chosen = password or secrets.token_urlsafe(24)
    script = logins_script(prefix, count, chosen)
    try:
        async with connection.transaction():
            await connection.execute(script)
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None
    return chosen


async def has_login(connection: asyncpg.Connection[Any], name: str) -> bool:
    """Whether the server has this login. Raises UsherError."""
    try:
        return bool(await connection.fetchval("SELECT pg_catalog.to_regrole($1) IS NOT NULL", name))
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def add_key(connection: asyncpg.Connection[Any]) -> str:
    """Makes a key for claims, valid beside those that are there, and returns it. Raises UsherError."""
    try:
        return str(await connection.fetchval("SELECT usher.new_claim_key()"))
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def keys(connection: asyncpg.Connection[Any]) -> list[tuple[str, datetime.datetime]]:
    """The ids of the keys for claims and when they were made, oldest first. Raises UsherError."""
    try:
        found = await connection.fetch("SELECT id, created_at FROM usher.claim_key ORDER BY created_at, id")
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None
    return [(row["id"], row["created_at"]) for row in found]


async def remove_key(connection: asyncpg.Connection[Any], key_id: str) -> bool:
    """Takes a key for claims away, at once; False when there is none with this id. Raises UsherError."""
    try:
        tag = await connection.execute("DELETE FROM usher.claim_key WHERE id = $1", key_id)
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None
    return bool(tag != "DELETE 0")


async def uninstall(connection: asyncpg.Connection[Any]) -> list[Script]:
    """Takes the steps back, the last first; returns those undone. Roles stay.

    Raises UsherError, for instance when a policy rests on a function, or SettingsError; nothing is changed
    then.
    """
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_PROLOGUE)
            version = await _known_version(connection)
            undone = [script for script in reversed(scripts()) if script.version <= version]
            for script in undone:
                await connection.execute(script.down)
            await connection.execute("DROP TABLE IF EXISTS usher.schema_version")
            await connection.execute("DROP SCHEMA IF EXISTS usher")
            return undone
    except DRIVER_ERRORS as error:
        raise translate(error, show_message=True) from None


async def _known_version(connection: asyncpg.Connection[Any]) -> int:
    return known_version(await installed_version(connection), scripts(), "the database")


def known_version(version: int, chain: Sequence[Script], what: str) -> int:
    """The version that `what` has. Raises SettingsError for one that a newer Usher has made."""
    newest = chain[-1].version
    if version > newest:
        raise SettingsError(
            f"{what} has version {version}, this Usher knows versions up to {newest}; use the Usher "
            "that installed it, or a newer one"
        )
    return version


def recorded(script: Script, schema: str = "usher") -> str:
    """SQL that notes in the schema's table of versions that a script has run."""
    # All values are ours: a file name that `scripts` has matched.
    values = f"({script.version}, '{script.name}')"
    return f"INSERT INTO {schema}.schema_version (version, name) VALUES {values} ON CONFLICT DO NOTHING;"  # noqa: S608


def _grants(login_role: str) -> str:
    if not 1 <= len(login_role.encode()) <= 63 or not login_role.isprintable():
        raise SettingsError("login role: 1 to 63 bytes of printable characters")
    quoted = login_role.replace('"', '""')
    return f'GRANT authenticated, anonymous, {MARKER} TO "{quoted}";'
