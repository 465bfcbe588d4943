"""`usher settings` shows what is in force, and refuses what is not understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import DECLARED
from tests.cli.conftest import Usher


def test_every_setting_is_shown_with_its_value(usher: Usher) -> None:
    done = usher("settings")
    assert (done.code, done.err) == (0, "")
    for name, declared in DECLARED.items():
        assert f"\n{name} = " in f"\n{done.out}"
        assert declared.help in done.out
    assert "changed" not in done.out


def test_what_was_changed_is_marked(usher: Usher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_TOKEN_TTL", "1m")
    assert "token_ttl = 60   changed\n" in usher("settings").out
    assert "max_rows = 20   changed\n" in usher("settings", "--max-rows", "20", "--default-max-rows", "2").out


def test_a_secret_is_never_shown(usher: Usher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = "postgresql://app:hunter2@db/app"
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    done = usher("settings")
    assert "database_url = (set)   changed\n" in done.out
    file = tmp_path / "usher.toml"
    file.write_text(f"database_url = '{url}'\nmax_rowz = 1\n")
    outputs = [
        done,
        usher("settings", "--database-url", "mysql://app:hunter2@db/app"),
        usher("settings", "--database-ulr", url),
        usher("settings", "--config", str(file)),
        usher("settings", "--database-url", "postgresql://app:hunter2@db:port/app"),
    ]
    assert [done.code for done in outputs] == [0, 2, 2, 2, 2]
    for output in outputs:
        assert "hunter2" not in output.out + output.err


def test_a_misspelt_name_is_exit_code_2_wherever_it_stands(
    usher: Usher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "usher.toml"
    file.write_text("tokn_ttl = 60\n")
    done = usher("settings", "--config", str(file))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"usher: {file}: there is no setting tokn_ttl; did you mean token_ttl?\n"
    assert usher("settings", "--tokn-ttl", "60").code == 2
    monkeypatch.setenv("USHER_TOKN_TTL", "60")
    done = usher("settings")
    assert done.code == 2
    assert "environment variable USHER_TOKN_TTL" in done.err
    assert "did you mean token_ttl?" in done.err


def test_switches_of_tests_are_no_settings(usher: Usher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_TEST_ANYTHING", "x")
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", "postgresql://x")
    assert usher("settings").code == 0


def test_settings_that_contradict_each_other(usher: Usher) -> None:
    done = usher("settings", "--token-ttl", "2h")
    assert (done.code, done.err) == (2, "usher: token_ttl must lie between 1 s and max_token_ttl\n")
