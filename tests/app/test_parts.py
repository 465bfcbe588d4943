"""What a start says of settings that weaken safety."""

from __future__ import annotations

import pytest

from sidecar.app.parts import say_what_weakens
from sidecar.config import load
from sidecar.core.events import SafetyWeakened
from sidecar.core.sealing import new_key
from tests.fakes import Recorder

NEON = {
    "database_backend": "neon-http",
    "shared_login": "true",
    "database_url": "postgresql://authenticated@ep-quiet-hill-123456.eu-central-1.aws.neon.tech/app",
}
STORE = {
    "key_store": "postgres",
    "key_store_url": "postgresql://keyring@db.example/app",
    "key_encryption_key": new_key(),
}


@pytest.mark.parametrize(("settings", "warned"), [(NEON, True), (NEON | STORE, False), ({}, False)])
def test_keys_in_memory_are_warned_of_where_neon_reads_the_set(
    settings: dict[str, str], warned: bool
) -> None:
    seen = Recorder()
    say_what_weakens(load({}, settings, None), seen)
    said = [event for event in seen.of(SafetyWeakened) if event.setting == "key_store"]
    assert len(said) == warned
    assert all("key_store=postgres" in event.consequence for event in said)
