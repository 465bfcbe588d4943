"""Attacks by statements that are streamed: those that need no write fail there as well."""

from __future__ import annotations

import pytest

from sidecar.core.sql import leading_keyword
from sidecar.embedded.binaries import DEFAULT_VERSION
from tests.attacks.arena import Arena
from tests.attacks.corpus import CANARY, Attack, attacks

CATEGORIES = ("claims", "gate", "leaks", "residue", "roles", "transactions")
READING = ("SELECT", "WITH", "VALUES", "TABLE")


def by_reading() -> list[Attack]:
    """The attacks that may succeed without a write, and are not known to succeed anyway."""
    return [
        attack
        for attack in attacks()
        if attack.category in CATEGORIES
        and not attack.succeeds_by_design(by_token=True)
        and all(leading_keyword(step.sql) in READING and not step.before for step in attack.steps)
    ]


@pytest.mark.parametrize("attack", by_reading(), ids=lambda attack: attack.name)
def test_attack_by_stream(attack: Attack, arena: Arena) -> None:
    if arena.version != DEFAULT_VERSION:
        pytest.skip("one version is enough: what differs is on this side of Postgres")
    assert not arena.falls_by_stream(attack), f"it succeeds; what leaks: {attack.leaks}"
    assert arena.serves(), "the next requests are not served as before"


def test_what_is_looked_for_can_be_seen(arena: Arena) -> None:
    arena.restore("ours")
    arena.ours.streams = True
    try:
        seen = {who: arena.request("ours", who, "SELECT body FROM notes").rows for who in ("A", "B")}
    finally:
        arena.ours.streams = False
    assert seen == {"A": (("acme note",),), "B": ((CANARY,),)}
    assert len(by_reading()) >= 40
