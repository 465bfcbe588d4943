"""`usher keys install`, `reseal`, `uninstall`: one life of a key store on a real database."""

from __future__ import annotations

import asyncio
import re

import pytest

from sidecar.core import keyring
from sidecar.core.clock import SystemClock
from sidecar.core.keys import Algorithm, generate
from sidecar.core.sealing import Sealer
from sidecar.postgres import key_installer
from sidecar.postgres.key_store import PostgresKeyStore
from tests.cli.conftest import Usher


def test_print_shows_the_sql_and_runs_nothing(usher: Usher) -> None:
    done = usher("keys", "install", "--print")
    assert (done.code, done.out, done.err) == (0, key_installer.printable(), "")


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_a_database_must_be_named(usher: Usher, action: str) -> None:
    done = usher("keys", action)
    assert (done.code, "--database-url" in done.err) == (2, True)
    done = usher("keys", action, "--database-url", "postgresql://app:hunter2@127.0.0.1:1/app")
    assert (done.code, "hunter2" in done.err) == (1, False)


def test_a_login_must_have_a_name(usher: Usher) -> None:
    done = usher("keys", "install", "--login", "a; drop", "--database-url", "postgresql://127.0.0.1:1/app")
    assert (done.code, "login" in done.err) == (2, True)


def test_a_fresh_key(usher: Usher) -> None:
    one, two = (usher("keys", "new-kek").out.strip() for _ in range(2))
    assert Sealer.parse(one).kek_id != Sealer.parse(two).kek_id


def settings_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"^export USHER_(\w+)='?([^'\n]*)'?$", text, re.MULTILINE))


def begin(url: str, kek: str) -> None:
    async def run() -> None:
        store = PostgresKeyStore(url, Sealer.parse(kek), SystemClock())
        first, second = generate(Algorithm.ES256, 0), generate(Algorithm.ES256, 0)
        await store.swap(0, keyring.begin(first, second, (await store.load()).now, shared=True)[0])
        await store.close()

    asyncio.run(run())


def test_one_life(usher: Usher, fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", fresh_database)
    done = usher("keys", "install", "--login", "usher_test_cli_keys")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("installed step 1: ")
    given = settings_in(done.out)
    assert set(given) == {"KEY_STORE", "KEY_STORE_URL", "KEY_ENCRYPTION_KEY"}
    again = usher("keys", "install", "--login", "usher_test_cli_keys")
    assert (again.code, "--reset-password" in again.err) == (1, True)
    begin(given["KEY_STORE_URL"], given["KEY_ENCRYPTION_KEY"])

    # Who gets a login now needs the key that is in use, and gets no other.
    reset = usher("keys", "install", "--login", "usher_test_cli_keys", "--reset-password")
    assert set(settings_in(reset.out)) == {"KEY_STORE", "KEY_STORE_URL"}
    edge = settings_in(
        usher("keys", "install", "--edge-login", "usher_test_cli_edge", "--reset-password").out
    )
    assert set(edge) == {"KEY_STORE", "KEY_STORE_URL"}

    fresh = usher("keys", "new-kek").out.strip()
    store = [f"--key-store-url={settings_in(reset.out)['KEY_STORE_URL']}", "--key-store=postgres"]
    both = [*store, f"--key-encryption-key={fresh},{given['KEY_ENCRYPTION_KEY']}"]
    done = usher("keys", "reseal", *both)
    kek_id = Sealer.parse(fresh).kek_id
    assert (done.code, done.out) == (0, f"re-sealed 2 private keys; all are sealed with {kek_id} now\n")
    assert usher("keys", "reseal", *store, f"--key-encryption-key={fresh}").out.startswith("re-sealed 0 ")
    old = usher("keys", "reseal", *store, f"--key-encryption-key={given['KEY_ENCRYPTION_KEY']}")
    assert (old.code, "give both" in old.err) == (2, True)
    nothing = usher("keys", "reseal")
    assert (nothing.code, "key_store" in nothing.err) == (2, True)

    kept = usher("keys", "uninstall")
    assert (kept.code, "--with-keys" in kept.err) == (1, True)
    gone = usher("keys", "uninstall", "--with-keys")
    assert (gone.code, gone.out.startswith("removed step 1")) == (0, True)
    assert usher("keys", "uninstall").code == 0
