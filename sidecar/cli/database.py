"""`usher db`: install, look at, check and remove the SQL side."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any
from urllib.parse import urlsplit

from sidecar import interrupts
from sidecar.cli import database_check
from sidecar.cli.progress import waiting
from sidecar.cli.remote import Failed
from sidecar.core.errors import SettingsError
from sidecar.postgres import installer
from sidecar.postgres.logins import check_prefix, login_name


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("db", help="install, look at, check or remove the SQL side of a database")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    install = actions.add_parser(
        "install", help="bring a database to the newest version; does nothing when it has it"
    )
    install.add_argument("--print", action="store_true", help="print the SQL for review, run nothing")
    install.add_argument(
        "--login-role", metavar="ROLE", help="an existing login that may run scoped statements"
    )
    install.add_argument(
        "--logins", type=int, metavar="N", help="make N logins for the sidecar, and its first claim key"
    )
    install.add_argument(
        "--login-prefix",
        default="usher",
        metavar="NAME",
        help="the logins are NAME_1 to NAME_N (default: usher)",
    )
    install.add_argument(
        "--reset-password", action="store_true", help="give logins that exist a new password"
    )
    install.set_defaults(run=_install)
    version = actions.add_parser("version", help="show which version a database has")
    version.set_defaults(run=_version)
    uninstall = actions.add_parser("uninstall", help="remove what install made, but for the roles")
    uninstall.set_defaults(run=_uninstall)
    check = actions.add_parser(
        "check", help="look for all that would break what Usher promises; change nothing"
    )
    check.set_defaults(run=_check)
    database_check.add_to(check)
    keys = _add_keys_to(actions)
    for action in (install, version, uninstall, check, *keys):
        action.add_argument(
            "--database-url",
            default=os.environ.get("USHER_ADMIN_DATABASE_URL", ""),
            metavar="URL",
            help="the database, as a user with CREATEROLE (or the variable USHER_ADMIN_DATABASE_URL)",
        )


def _add_keys_to(actions: Any) -> list[argparse.ArgumentParser]:
    parser = actions.add_parser("key", help="the keys that make claims believed; several are valid at once")
    verbs = parser.add_subparsers(dest="key_action", metavar="ACTION", required=True)
    add = verbs.add_parser("add", help="make a key and print it, this once")
    add.set_defaults(run=_add_key)
    listing = verbs.add_parser("list", help="show the ids of all keys")
    listing.set_defaults(run=_list_keys)
    remove = verbs.add_parser("remove", help="take a key away: a sidecar that uses it is refused at once")
    remove.add_argument("id", help="the part of claim_key before the colon")
    remove.set_defaults(run=_remove_key)
    return [add, listing, remove]


def _install(chosen: argparse.Namespace) -> int:
    if chosen.print:
        print(installer.printable(chosen.login_role), end="")
        return 0
    if chosen.logins is not None:
        check_prefix(chosen.login_prefix, chosen.logins)
    return int(interrupts.run(_with_connection(chosen, lambda connection: _install_on(connection, chosen))))


async def _install_on(connection: Any, chosen: argparse.Namespace) -> int:
    with waiting("installing"):
        steps = await installer.install(connection, chosen.login_role)
    for step in steps:
        print(f"installed step {step.version}: {step.name}")
    print("the database is up to date")
    if chosen.logins is None:
        return 0
    prefix, count = chosen.login_prefix, chosen.logins
    if not chosen.reset_password and await installer.has_login(connection, login_name(prefix, 1)):
        raise Failed(
            f"the login {login_name(prefix, 1)} exists; --reset-password gives all of them a new password"
        )
    password = await installer.make_logins(connection, prefix, count)
    url = urlsplit(chosen.database_url)
    host = url.netloc.rpartition("@")[2]
    print("\nThe sidecar's settings; the secrets are shown this once:\n")
    address = f"postgresql://{prefix}:{password}@{host}{url.path}"
    print(f"export USHER_DATABASE_URL={shlex.quote(address)}")
    print(f"export USHER_DATABASE_LOGINS={count}")
    print(f"export USHER_CLAIM_KEY={await installer.add_key(connection)}")
    return 0


def _add_key(chosen: argparse.Namespace) -> int:
    print(interrupts.run(_with_connection(chosen, installer.add_key)))
    return 0


def _list_keys(chosen: argparse.Namespace) -> int:
    for key_id, made in interrupts.run(_with_connection(chosen, installer.keys)):
        print(f"{key_id}  made {made:%Y-%m-%d %H:%M:%S %Z}")
    return 0


def _remove_key(chosen: argparse.Namespace) -> int:
    if not interrupts.run(
        _with_connection(chosen, lambda connection: installer.remove_key(connection, chosen.id))
    ):
        raise Failed(f"there is no key {chosen.id}; `usher db key list` shows all")
    print(f"removed {chosen.id}")
    return 0


def _check(chosen: argparse.Namespace) -> int:
    database_check.validate(chosen)
    return int(
        interrupts.run(_with_connection(chosen, lambda connection: database_check.check(connection, chosen)))
    )


def _version(chosen: argparse.Namespace) -> int:
    newest = installer.scripts()[-1].version
    version = interrupts.run(_with_connection(chosen, installer.installed_version))
    print(f"installed {version}, newest {newest}")
    return 0 if version == newest else 1


def _uninstall(chosen: argparse.Namespace) -> int:
    for step in interrupts.run(_with_connection(chosen, installer.uninstall)):
        print(f"removed step {step.version}: {step.name}")
    print("removed: nothing signs or checks claims now; logins and roles stay, other databases may use them")
    return 0


async def _with_connection(chosen: argparse.Namespace, act: Any) -> Any:
    if not chosen.database_url:
        raise SettingsError("name the database: --database-url postgresql://admin@host/name")
    with waiting("waiting for the database"):
        connection = await installer.connect(chosen.database_url)
    try:
        return await act(connection)
    finally:
        await connection.close()
