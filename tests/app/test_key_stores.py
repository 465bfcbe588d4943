"""Which key store the settings give, and the key that seals it: from a setting, a file or a program."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from sidecar.app.key_stores import build_key_store, postgres_store, sealer
from sidecar.config import Config, load
from sidecar.core.clock import SystemClock
from sidecar.core.errors import SettingsError
from sidecar.core.memory_keys import MemoryKeyStore
from sidecar.core.sealing import Sealer, new_key
from sidecar.postgres.key_store import PostgresKeyStore

KEK, OLDER = new_key(), new_key()


def config(**settings: str) -> Config:
    there = {"key_store": "postgres", "key_store_url": "postgresql://keyring@db.example/app"}
    return load({}, there | settings, None)


async def test_the_settings_choose() -> None:
    memory = await build_key_store(load({}, {}, None), SystemClock())
    assert isinstance(memory, MemoryKeyStore)
    store = await build_key_store(config(key_encryption_key=f"{KEK} {OLDER}"), SystemClock())
    assert isinstance(store, PostgresKeyStore)
    assert store.kek_id == Sealer.parse(KEK).kek_id
    with pytest.raises(SettingsError, match="set it to postgres"):
        await postgres_store(load({}, {}, None), SystemClock())


def program(tmp_path: Path, body: str) -> str:
    script = tmp_path / "kms.py"
    script.write_text(body)
    return f"{sys.executable} {script}"


async def test_a_program_prints_the_keys(tmp_path: Path) -> None:
    command = program(tmp_path, f"print({KEK!r}); print({OLDER!r})")
    found = await sealer(config(key_encryption_key_command=command))
    sealed = Sealer.parse(OLDER).seal(b"plain", ("here",))
    assert found.kek_id == Sealer.parse(KEK).kek_id
    assert found.open(sealed, ("here",)) == b"plain"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('no key at all')", "must print 32 bytes"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "must print 32 bytes"),
        ("", "must print 32 bytes"),
        (f"print({KEK!r}); raise SystemExit(3)", "failed with exit code 3"),
    ],
)
async def test_a_program_that_gives_none(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        await sealer(config(key_encryption_key_command=program(tmp_path, body)))
    assert KEK not in str(caught.value)
    assert "no key" not in str(caught.value)


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="cannot be run"):
        await sealer(config(key_encryption_key_command="/no/such/program"))


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    before = time.monotonic()
    with pytest.raises(SettingsError, match="did not end within"):
        asyncio.run(sealer(config(key_encryption_key_command=program(tmp_path, body)), timeout=2.0))
    assert time.monotonic() - before < 60
    assert not Path(f"/proc/{pid.read_text()}").exists()
