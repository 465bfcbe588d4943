"""`usher db`: install, look at and remove the SQL side."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

from sidecar.core.errors import SettingsError
from sidecar.postgres import installer


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("db", help="install, look at or remove the SQL side of a database")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    install = actions.add_parser(
        "install", help="bring a database to the newest version; does nothing when it has it"
    )
    install.add_argument("--print", action="store_true", help="print the SQL for review, run nothing")
    install.add_argument(
        "--login-role", metavar="ROLE", help="an existing login that may run scoped statements"
    )
    install.set_defaults(run=_install)
    version = actions.add_parser("version", help="show which version a database has")
    version.set_defaults(run=_version)
    uninstall = actions.add_parser("uninstall", help="remove what install made, but for the roles")
    uninstall.set_defaults(run=_uninstall)
    for action in (install, version, uninstall):
        action.add_argument(
            "--database-url",
            default=os.environ.get("USHER_ADMIN_DATABASE_URL", ""),
            metavar="URL",
            help="the database, as a user with CREATEROLE (or the variable USHER_ADMIN_DATABASE_URL)",
        )


def _install(chosen: argparse.Namespace) -> int:
    if chosen.print:
        print(installer.printable(chosen.login_role), end="")
        return 0
    steps = asyncio.run(
        _with_connection(chosen, lambda connection: installer.install(connection, chosen.login_role))
    )
    for step in steps:
        print(f"installed step {step.version}: {step.name}")
    print("the database is up to date")
    return 0


def _version(chosen: argparse.Namespace) -> int:
    newest = installer.scripts()[-1].version
    version = asyncio.run(_with_connection(chosen, installer.installed_version))
    print(f"installed {version}, newest {newest}")
    return 0 if version == newest else 1


def _uninstall(chosen: argparse.Namespace) -> int:
    for step in asyncio.run(_with_connection(chosen, installer.uninstall)):
        print(f"removed step {step.version}: {step.name}")
    print("removed; the roles authenticated and anonymous stay")
    return 0


async def _with_connection(chosen: argparse.Namespace, act: Any) -> Any:
    if not chosen.database_url:
        raise SettingsError("name the database: --database-url postgresql://admin@host/name")
    connection = await installer.connect(chosen.database_url)
    try:
        return await act(connection)
    finally:
        await connection.close()
