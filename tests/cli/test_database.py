"""`usher db`: what is printed for review, and one life on a real database."""

from __future__ import annotations

import pytest

from sidecar.postgres import installer
from tests.cli.conftest import Usher


def test_print_shows_the_sql_and_runs_nothing(usher: Usher) -> None:
    done = usher("db", "install", "--print", "--login-role", "app")
    assert (done.code, done.err) == (0, "")
    assert done.out == installer.printable("app")
    assert "CREATE" in done.out


@pytest.mark.parametrize("action", ["install", "version", "uninstall"])
def test_a_database_must_be_named(usher: Usher, action: str) -> None:
    done = usher("db", action)
    assert (done.code, done.out) == (2, "")
    assert "--database-url" in done.err


@pytest.mark.parametrize("action", ["install", "version", "uninstall"])
def test_a_database_that_is_away(usher: Usher, action: str) -> None:
    done = usher("db", action, "--database-url", "postgresql://app:hunter2@127.0.0.1:1/app")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("usher: DATABASE_UNAVAILABLE: ")
    assert "hunter2" not in done.err


def test_a_url_that_is_none(usher: Usher) -> None:
    done = usher("db", "version", "--database-url", "mysql://app:hunter2@db/app")
    assert (done.code, "hunter2" in done.err) == (2, False)


def test_the_secret_of_the_environment_is_not_in_the_help(
    usher: Usher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", "postgresql://admin:hunter2@127.0.0.1:1/app")
    assert "hunter2" not in usher("db", "install", "--help").out
    assert usher("db", "version").code == 1, "the variable is used"


def test_install_look_and_remove(usher: Usher, fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", fresh_database)
    newest = installer.scripts()[-1].version
    before = usher("db", "version")
    assert (before.code, before.out) == (1, f"installed 0, newest {newest}\n")
    installed = usher("db", "install")
    assert (installed.code, installed.err) == (0, "")
    assert installed.out.startswith("installed step 1: ")
    assert installed.out.endswith("the database is up to date\n")
    again = usher("db", "install")
    assert (again.code, again.out) == (0, "the database is up to date\n")
    after = usher("db", "version")
    assert (after.code, after.out) == (0, f"installed {newest}, newest {newest}\n")
    removed = usher("db", "uninstall")
    assert removed.code == 0
    assert "removed step 1: " in removed.out
    assert usher("db", "version").out.startswith("installed 0,")


def test_install_makes_logins_and_a_key_and_prints_a_sidecars_settings(
    usher: Usher, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", fresh_database)
    done = usher("db", "install", "--logins", "2", "--login-prefix", "usher_cli")
    assert (done.code, done.err) == (0, "")
    lines = [line.removeprefix("export ") for line in done.out.splitlines() if line.startswith("export ")]
    printed = dict(line.split("=", 1) for line in lines)
    assert printed["USHER_DATABASE_LOGINS"] == "2"
    assert printed["USHER_DATABASE_URL"].startswith("postgresql://usher_cli:")
    assert printed["USHER_DATABASE_URL"].endswith(fresh_database.rpartition("@")[2])
    key_id = printed["USHER_CLAIM_KEY"].partition(":")[0]
    assert usher("db", "key", "list").out.startswith(f"{key_id}  made ")

    again = usher("db", "install", "--logins", "2", "--login-prefix", "usher_cli")
    assert (again.code, "--reset-password" in again.err) == (1, True)
    reset = usher("db", "install", "--logins", "3", "--login-prefix", "usher_cli", "--reset-password")
    assert reset.code == 0
    assert printed["USHER_DATABASE_URL"] not in reset.out

    added = usher("db", "key", "add").out.strip()
    assert usher("db", "key", "remove", key_id).out == f"removed {key_id}\n"
    assert usher("db", "key", "remove", key_id).code == 1
    assert added.partition(":")[0] in usher("db", "key", "list").out


def test_logins_that_cannot_be_are_refused_before_anything_is_done(usher: Usher) -> None:
    done = usher("db", "install", "--logins", "0", "--database-url", "postgresql://owner@127.0.0.1:1/app")
    assert (done.code, "1 to 1000" in done.err) == (2, True)
