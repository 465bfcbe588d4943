"""The key store that the settings ask for, and the key that seals what it keeps."""

from __future__ import annotations

import asyncio
from typing import Final

from sidecar.config import Config
from sidecar.config.key_settings import MEMORY, command_of, missing_key_settings
from sidecar.core.clock import Clock
from sidecar.core.errors import SettingsError
from sidecar.core.key_store import KeyStore
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.sealing import Sealer
from sidecar.postgres.key_store import PostgresKeyStore

COMMAND_SECONDS: Final = 30.0
"""How long key_encryption_key_command may take: a KMS that is slower is down."""


async def build_key_store(config: Config, clock: Clock) -> KeyStore:
    """The store, not connected yet. Raises SettingsError when there is no key to open it."""
    if config.key_store == MEMORY:
        return MemoryKeyStore(clock)
    return await postgres_store(config, clock)


async def postgres_store(config: Config, clock: Clock) -> PostgresKeyStore:
    """The store of key_store=postgres. Raises SettingsError."""
    if config.key_store == MEMORY:
        raise SettingsError("key_store: set it to postgres; keys in memory are not kept")
    return PostgresKeyStore(config.key_store_url, await sealer(config), clock)


async def sealer(config: Config, timeout: float = COMMAND_SECONDS) -> Sealer:
    """What seals and opens private keys. Raises SettingsError, which repeats nothing of what was read."""
    if missing := missing_key_settings(config):
        raise SettingsError(missing)
    text = config.key_encryption_key or await _output_of(command_of(config), timeout)
    try:
        return Sealer.parse(text)
    except SettingsError:
        if config.key_encryption_key:
            raise
        raise SettingsError(
            "key_encryption_key_command must print 32 bytes in base64url, and nothing else; several keys are "
            "separated by commas"
        ) from None


async def _output_of(command: list[str], timeout: float) -> str:
    """What a program prints. What it says on stderr goes where our log goes."""
    setting = "key_encryption_key_command"
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is none"
        raise SettingsError(f"{setting}: the program cannot be run ({reason})") from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        raise SettingsError(f"{setting}: the program did not end within {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SettingsError(f"{setting}: the program failed with exit code {process.returncode}")
    try:
        return output.decode("ascii")
    except UnicodeDecodeError:
        return ""
