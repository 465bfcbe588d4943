"""Options made from the declared settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from sidecar.cli.options import add_settings, loaded
from sidecar.config import DECLARED, Config
from sidecar.core.errors import SettingsError


def config(*arguments: str, **defaults: str) -> Config:
    parser = argparse.ArgumentParser(prog="usher serve")
    add_settings(parser)
    return loaded(parser.parse_args(arguments), **defaults)


def test_every_setting_has_an_option_with_its_help() -> None:
    parser = argparse.ArgumentParser(prog="usher serve")
    add_settings(parser)
    shown = " ".join(parser.format_help().split())
    for name, declared in DECLARED.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert " ".join(declared.help.split())[:30] in shown


def test_options_are_parsed_as_settings() -> None:
    assert config() == Config()
    chosen = config("--token-ttl", "1m", "--max-message-bytes", "1MiB", "--log-level", "debug")
    assert (chosen.token_ttl, chosen.max_message_bytes, chosen.log_level) == (60, 1024**2, "debug")


def test_a_switch_alone_means_true() -> None:
    assert config("--show-database-messages").show_database_messages is True
    assert config("--reflection", "false").reflection is False
    assert config("--reflection=no", "--allow-anonymous").allow_anonymous is True


def test_a_value_that_does_not_fit_names_the_option() -> None:
    with pytest.raises(SettingsError, match="option --max-rows: 'many' does not fit max_rows"):
        config("--max-rows", "many")


def test_the_file_is_named_by_option_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("max_rows = 2001\n")
    second.write_text("max_rows = 2002\n")
    monkeypatch.setenv("USHER_CONFIG", str(first))
    assert config().max_rows == 2001
    assert config("--config", str(second)).max_rows == 2002
    monkeypatch.setenv("USHER_MAX_ROWS", "2003")
    assert config("--config", str(second)).max_rows == 2003
    assert config("--config", str(second), "--max-rows", "2004").max_rows == 2004
    monkeypatch.setenv("USHER_CONFIG", "")
    assert config("--max-rows", "2004").max_rows == 2004


def test_a_mode_may_bring_its_own_defaults() -> None:
    assert config(issuer="https://a").issuer == "https://a"
    assert config("--issuer", "https://b", issuer="https://a").issuer == "https://b"
