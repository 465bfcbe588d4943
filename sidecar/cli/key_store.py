"""`usher keys install`, `uninstall`, `reseal`, `new-kek`: the key store in Postgres."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from sidecar import interrupts
from sidecar.cli.options import add_settings, loaded
from sidecar.cli.remote import Failed
from sidecar.config import Config
from sidecar.core.clock import SystemClock
from sidecar.core.errors import SettingsError
from sidecar.core.sealing import new_key
from sidecar.postgres import installer, key_installer

# sidecar.app is imported by the function that needs it: it takes longer than all of a client verb's work.


def add_to(actions: Any) -> None:
    """Adds the actions."""
    install = actions.add_parser("install", help="bring a database's key store to the newest version")
    install.add_argument("--print", action="store_true", help="print the SQL for review, run nothing")
    install.add_argument(
        "--login", metavar="NAME", help="make a login for sidecars, and a key-encryption key"
    )
    install.add_argument(
        "--edge-login", metavar="NAME", help="make a login that reads public keys, for a public edge"
    )
    install.add_argument(
        "--reset-password", action="store_true", help="give logins that exist a new password"
    )
    install.set_defaults(run=_install)
    uninstall = actions.add_parser("uninstall", help="remove the key store, but for its roles and logins")
    uninstall.add_argument("--with-keys", action="store_true", help="even if there are keys in it")
    uninstall.set_defaults(run=_uninstall)
    for action in (install, uninstall):
        action.add_argument(
            "--database-url",
            default=os.environ.get("USHER_ADMIN_DATABASE_URL", ""),
            metavar="URL",
            help="the database, as a user with CREATEROLE (or the variable USHER_ADMIN_DATABASE_URL)",
        )
    reseal = actions.add_parser(
        "reseal", help="seal all private keys with the first key of key_encryption_key"
    )
    add_settings(reseal)
    reseal.set_defaults(run=_reseal)
    kek = actions.add_parser("new-kek", help="make a key for key_encryption_key")
    kek.set_defaults(run=_new_kek)


def _install(chosen: argparse.Namespace) -> int:
    if chosen.print:
        print(key_installer.printable(), end="")
        return 0
    for name in filter(None, (chosen.login, chosen.edge_login)):
        key_installer.check_login(name)
    return _on_database(chosen, lambda connection: _install_on(connection, chosen))


async def _install_on(connection: Any, chosen: argparse.Namespace) -> int:
    for step in await key_installer.install(connection):
        print(f"installed step {step.version}: {step.name}")
    print("the key store is up to date")
    wanted = [
        (name, role)
        for name, role in (
            (chosen.login, key_installer.SIDECAR),
            (chosen.edge_login, key_installer.EDGE),
        )
        if name
    ]
    for name, _ in wanted:
        if not chosen.reset_password and await installer.has_login(connection, name):
            raise Failed(f"the login {name} exists; --reset-password gives it a new password")
    for name, role in wanted:
        password = await key_installer.make_login(connection, name, role)
        url = urlsplit(chosen.database_url)
        address = f"postgresql://{name}:{password}@{url.netloc.rpartition('@')[2]}{url.path}"
        whose = "The sidecars'" if role == key_installer.SIDECAR else "The edge's"
        print(f"\n{whose} settings; the secrets are shown this once:\n")
        print("export USHER_KEY_STORE=postgres")
        print(f"export USHER_KEY_STORE_URL={shlex.quote(address)}")
        if role == key_installer.SIDECAR:
            if await key_installer.has_keys(connection):
                print("# USHER_KEY_ENCRYPTION_KEY: the one that the keys in the store are sealed with")
            else:
                print(f"export USHER_KEY_ENCRYPTION_KEY={new_key()}")
    return 0


def _uninstall(chosen: argparse.Namespace) -> int:
    return _on_database(chosen, lambda connection: _uninstall_on(connection, chosen))


async def _uninstall_on(connection: Any, chosen: argparse.Namespace) -> int:
    if not chosen.with_keys and await key_installer.has_keys(connection):
        raise Failed(
            "the key store holds keys: sidecars that use it would end, and verifiers refuse the tokens of "
            "new ones; --with-keys removes it all the same"
        )
    for step in await key_installer.uninstall(connection):
        print(f"removed step {step.version}: {step.name}")
    print("removed; roles and logins stay, other databases may use them")
    return 0


def _reseal(chosen: argparse.Namespace) -> int:
    return interrupts.run(_reseal_with(loaded(chosen)))


async def _reseal_with(config: Config) -> int:
    from sidecar.app.key_stores import postgres_store

    store = await postgres_store(config, SystemClock())
    try:
        count = await key_installer.reseal(store)
    finally:
        await store.close()
    print(f"re-sealed {count} private keys; all are sealed with {store.kek_id} now")
    return 0


def _new_kek(chosen: argparse.Namespace) -> int:
    print(new_key())
    return 0


def _on_database(chosen: argparse.Namespace, act: Callable[[Any], Awaitable[int]]) -> int:
    async def run() -> int:
        connection = await installer.connect(chosen.database_url)
        try:
            return await act(connection)
        finally:
            await connection.close()

    if not chosen.database_url:
        raise SettingsError("name the database: --database-url postgresql://admin@host/name")
    return interrupts.run(run())
