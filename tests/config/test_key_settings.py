"""The settings of the key store: what they come to, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import Config, load
from sidecar.config.key_settings import command_of, missing_key_settings
from sidecar.core.errors import SettingsError
from sidecar.core.sealing import new_key

KEK = new_key()
STORE = {
    "key_store": "postgres",
    "key_store_url": "postgresql://keyring:secret@db.example/app",
    "key_encryption_key": KEK,
}


def loaded(**settings: str) -> Config:
    return load({}, {name: text for name, text in (STORE | settings).items() if text}, None)


def test_the_default_is_memory() -> None:
    config = load({}, {}, None)
    assert (config.key_store, config.rotation_settings.verifiers) == ("memory", ())


def test_what_they_come_to() -> None:
    settings = loaded(verifiers=" Neon-Proxy, edge ", verifier_wait="2h").rotation_settings
    assert (settings.verifiers, settings.verifier_wait) == (("neon-proxy", "edge"), 7200)


def test_a_key_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    file.write_text(f"{KEK}\n")
    assert loaded(key_encryption_key="", key_encryption_key_file=str(file)).key_encryption_key == KEK
    with pytest.raises(SettingsError, match="give one of them"):
        loaded(key_encryption_key_file=str(file))
    with pytest.raises(SettingsError, match="cannot be read"):
        loaded(key_encryption_key="", key_encryption_key_file=str(tmp_path / "none"))


def test_only_an_edge_does_without_a_key() -> None:
    assert "give one of them" in missing_key_settings(loaded(key_encryption_key=""))
    assert not missing_key_settings(loaded())
    assert not missing_key_settings(load({}, {}, None))


def test_a_command_is_split_as_a_shell_does() -> None:
    config = loaded(key_encryption_key="", key_encryption_key_command="vault read -field='the key' x")
    assert command_of(config) == ["vault", "read", "-field=the key", "x"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_store": "memory"}, "^key_store_url goes with key_store=postgres"),
        ({"key_store": "memory", "key_store_url": ""}, "^key_encryption_key goes with key_store=postgres"),
        ({"key_store_url": ""}, "^key_store_url: give what"),
        ({"key_store_url": "mysql://x/y"}, "^key_store_url must look like"),
        ({"database_url": STORE["key_store_url"]}, "^key_store_url must not be database_url"),
        ({"key_encryption_key_command": "true"}, "give one of them"),
        ({"key_encryption_key": "", "key_encryption_key_command": " "}, "name a program"),
        ({"key_encryption_key": "", "key_encryption_key_command": "a 'b"}, "does not end"),
        ({"key_encryption_key": "short"}, "32 bytes in base64url"),
        ({"verifiers": "a b"}, "verifiers"),
        ({"verifiers": "other"}, "verifiers"),
        ({"verifiers": "a,A"}, "verifiers"),
        ({"verifiers": "a", "verifier_wait": "48h"}, "^verifier_wait must not be longer"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        loaded(**settings)
    for secret in (KEK, "secret", "short"):
        assert secret not in str(caught.value)
