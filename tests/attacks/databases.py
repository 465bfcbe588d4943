"""The three databases of an arena, and what puts them back to where they were."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from sidecar.embedded.server import EmbeddedPostgres
from sidecar.postgres import installer
from tests.processes import usher
from tests.servers import Servers
from tests.session_jwt import extension

T = TypeVar("T")

FOLDER: Final = Path(__file__).parent
NAMES: Final = ("naive", "bare", "ours")
OWNER: Final = "app_owner"
LOGINS: Final = 6

_ROLES: Final = """
CREATE ROLE app_owner LOGIN CREATEROLE PASSWORD '{app_owner}';
CREATE ROLE reports NOLOGIN;
CREATE ROLE naive LOGIN NOINHERIT PASSWORD '{naive}';
CREATE ROLE bare LOGIN SUPERUSER PASSWORD '{bare}';
"""
_NAIVE_GRANTS: Final = """
GRANT authenticated, anonymous, reports, app_owner TO naive;
GRANT ALL ON ALL TABLES IN SCHEMA public TO authenticated;
GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO authenticated;
GRANT CREATE ON SCHEMA public TO PUBLIC;
"""
"""What the careless grant: a login that owns the tables, and everything to everybody."""

_EXTENSION_GRANTS: Final = "GRANT USAGE ON SCHEMA auth TO authenticated, anonymous, reports, app_owner"
"""The extension grants nothing by itself, not even to who is to write policies."""

# Roles belong to the whole server, so that an attack on one database may have changed them for all.
_MEND_ROLES: Final = """
ALTER ROLE naive RESET ALL; ALTER ROLE naive PASSWORD '{naive}';
ALTER ROLE bare RESET ALL; ALTER ROLE bare PASSWORD '{bare}';
REVOKE reports FROM authenticated;
"""
_ROLES_STATE: Final = """
SELECT concat(
  (SELECT string_agg(concat(rolname, rolpassword, rolsuper), ' ' ORDER BY oid) FROM pg_authid),
  (SELECT string_agg(concat(setdatabase, setrole, setconfig), ' ' ORDER BY setdatabase, setrole)
   FROM pg_db_role_setting),
  (SELECT string_agg(concat(roleid, ' ', member), ',' ORDER BY roleid, member) FROM pg_auth_members)
)
"""
_STORED: Final = "SELECT rolpassword FROM pg_authid WHERE rolname = '{}'"
_PREPARED: Final = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
_VERIFIERS: Final = """
SELECT string_agg(p.proname || md5(p.prosrc), ' ' ORDER BY p.oid) FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname IN ('auth', 'usher')
"""


class Database:
    """One of them, as the superuser sees it."""

    def __init__(self, name: str, server: EmbeddedPostgres) -> None:
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection[Any] = self._run(asyncpg.connect(server.superuser_dsn(name)))
        self._steps = installer.scripts()[: 1 if name == "naive" else None]
        # As Postgres stores them: to hash them anew each time would take half of all the time.
        stored = {role: self.value(_STORED.format(role)) for role in ("naive", "bare")}
        self._mend_roles = _MEND_ROLES.format(**stored)
        self._mend = (FOLDER / "reset.sql").read_text()
        self._verifiers = self.value(_VERIFIERS)
        self._roles_state = self.value(_ROLES_STATE)

    def value(self, sql: str) -> Any:
        """The first value of a query."""
        return self._run(self._connection.fetchval(sql))

    def execute(self, script: str) -> None:
        """Runs a script."""
        self._run(self._connection.execute(script))

    def set_up(self, script: str) -> None:
        """Runs a script about objects that not every one of the databases has."""
        with contextlib.suppress(asyncpg.PostgresError):
            self.execute(script)

    def restore(self) -> None:
        """Makes tables and functions as they were before any attack."""
        for row in self._run(self._connection.fetch(_PREPARED)):
            self.execute(f"ROLLBACK PREPARED '{row[0]}'")
        if self.value(_VERIFIERS) != self._verifiers:
            for step in self._steps:
                self.execute(f"BEGIN; {step.up}; COMMIT")
        self.execute(self._mend)

    def mend_roles(self) -> None:
        """Makes the roles of the careless as they were, if an attack has changed one."""
        if self.value(_ROLES_STATE) != self._roles_state:
            self.execute(self._mend_roles)

    def close(self) -> None:
        self._run(self._connection.close())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def make(servers: Servers, server: EmbeddedPostgres, *, by_token: bool = False) -> dict[str, str]:
    """Makes the databases on a server without any; returns the settings with which `ours` is served.

    The installer is the plain owner of the database, as on a hosted Postgres.
    """
    admin = server.superuser_dsn()
    servers.execute(admin, _ROLES.format(**_passwords(server)))
    schema = (FOLDER / "schema.sql").read_text()
    settings: dict[str, str] = {}
    for name in NAMES:
        servers.execute(admin, f"CREATE DATABASE {name} OWNER {OWNER}")
        owner = server.dsn(OWNER, name)
        if name == "naive":
            # The claims as other stacks read them: a setting, and nothing that vouches for it.
            servers.execute(owner, installer.scripts()[0].up)
        else:
            if by_token and name == "ours":
                servers.execute(server.superuser_dsn(name), extension.stand_in())
            settings = _installed(owner)
            if by_token and name == "ours":
                servers.execute(server.superuser_dsn(name), _EXTENSION_GRANTS)
        servers.execute(owner, schema)
    servers.execute(server.superuser_dsn("naive"), _NAIVE_GRANTS)
    return settings


def _installed(owner: str) -> dict[str, str]:
    """Installs the product as an operator does; the settings that it tells to give to sidecars."""
    done = usher("db", "install", "--database-url", owner, "--logins", str(LOGINS), "--reset-password")
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"^export USHER_(\w+)=(.*)$", done.stdout, re.M)
    return {name.lower(): value for name, value in printed}


def _passwords(server: EmbeddedPostgres) -> dict[str, str]:
    return {role: server.password(role) for role in (OWNER, "naive", "bare")}
