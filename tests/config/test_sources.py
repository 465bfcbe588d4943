"""All that is wrong with the settings at once, for whoever wants more than the first of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import collect, load
from sidecar.core.errors import SettingsError


def test_all_that_is_wrong_can_be_had_at_once(tmp_path: Path) -> None:
    file = tmp_path / "usher.toml"
    file.write_text('token_ttll = "5m"\nissuer = "https://a.example"\n')
    environment = {"USHER_CLAIM_KEY_FILE": str(tmp_path / "none"), "USHER_POOL_MAX_SIZE": "7"}
    config, wrong = collect(environment, {"token_ttl": "x"}, file)
    assert [text.partition(" ")[0] for text in wrong] == [f"{file}:", "option", "claim_key_file:"]
    assert (config.issuer, config.pool_max_size, config.token_ttl) == ("https://a.example", 7, 300)
    with pytest.raises(SettingsError) as caught:
        load(environment, {"token_ttl": "x"}, file)
    assert str(caught.value) == wrong[0]


def test_settings_that_contradict_each_other_are_had_as_they_are() -> None:
    config, wrong = collect({}, {"token_ttl": "2h"}, None)
    assert (config.token_ttl, len(wrong)) == (7200, 1)


def test_a_file_that_cannot_be_read_leaves_the_other_sources() -> None:
    file = Path("/nonexistent/usher.toml")
    config, wrong = collect({"USHER_TOKEN_TTL": "1m"}, {}, file)
    assert (config.token_ttl, wrong) == (60, [f"{file}: cannot be read (No such file or directory)"])


def test_what_is_wrong_is_not_told_twice_by_the_default_in_its_place() -> None:
    assert len(collect({}, {"token_ttl": "2h", "max_token_ttl": "x"}, None)[1]) == 1
