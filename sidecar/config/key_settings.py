"""The rules that bind the settings of the key store to each other."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from sidecar.core.errors import SettingsError
from sidecar.core.sealing import Sealer
from sidecar.postgres.pool import check_database_url

if TYPE_CHECKING:
    from sidecar.config.settings import Config

MEMORY: Final = "memory"
POSTGRES: Final = "postgres"

_ONE_OF_THEM: Final = (
    "key_encryption_key, key_encryption_key_file and key_encryption_key_command: give one of them"
)
_SOURCES: Final = ("key_encryption_key_file", "key_encryption_key_command")


def check_key_settings(config: Config) -> None:
    """Raises SettingsError for settings that do not go together, or could not open a key."""
    if config.key_store == MEMORY:
        given = [name for name in ("key_store_url", "key_encryption_key", *_SOURCES) if getattr(config, name)]
        if given:
            raise SettingsError(f"{given[0]} goes with key_store=postgres")
        return
    if not config.key_store_url:
        raise SettingsError("key_store_url: give what `usher keys install --login` printed")
    check_database_url(config.key_store_url, "key_store_url")
    if config.key_store_url == config.database_url:
        raise SettingsError(
            "key_store_url must not be database_url: whoever runs users' SQL must not reach the keys; take "
            "the login that `usher keys install --login` made"
        )
    # A file has been read into key_encryption_key by now.
    if config.key_encryption_key and config.key_encryption_key_command:
        raise SettingsError(_ONE_OF_THEM)
    if config.key_encryption_key:
        Sealer.parse(config.key_encryption_key)
    elif config.key_encryption_key_command and not command_of(config):
        raise SettingsError("key_encryption_key_command: name a program")


def missing_key_settings(config: Config) -> str:
    """What opens no private key; "" when nothing is missing. `usher jwks serve` needs none."""
    given = config.key_encryption_key or config.key_encryption_key_command
    return _ONE_OF_THEM if config.key_store == POSTGRES and not given else ""


def command_of(config: Config) -> list[str]:
    """The program that prints the key, and its arguments. Raises SettingsError."""
    try:
        return shlex.split(config.key_encryption_key_command)
    except ValueError:
        raise SettingsError("key_encryption_key_command: a quotation does not end") from None
