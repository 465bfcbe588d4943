"""Every attack of the corpus fails against the product, and succeeds against those who protect less."""

from __future__ import annotations

import pytest

from tests.attacks.arena import Arena
from tests.attacks.corpus import CANARY, Attack, attacks

FEWEST_ON_NAIVE = 100
"""A corpus that cannot bite proves nothing."""


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_attack(attack: Attack, arena: Arena) -> None:
    fell = arena.run(attack)
    if attack.succeeds_by_design(by_token=arena.by_token):
        assert fell["ours"], f"it fails: take its mark away, and its row in docs/security.md: {attack.leaks}"
    else:
        assert not fell["ours"], f"it succeeds; what leaks: {attack.leaks}"
    falls_nowhere = bool(attack.regression) or arena.version < attack.since
    assert any(fell.values()) is not falls_nowhere, "whether it falls nowhere is not as marked"
    assert arena.serves(), "the next requests are not served as before"


def test_the_corpus_bites(arena: Arena) -> None:
    if len(arena.fallen) < len(attacks()):
        pytest.skip("only a part of the corpus was run")
    assert sum(fell["naive"] for fell in arena.fallen.values()) >= FEWEST_ON_NAIVE


def test_no_log_holds_what_is_secret(arena: Arena) -> None:
    """After all attacks that ran here: neither rows, nor claims, nor what the sidecars were given."""
    arena.request("ours", "B", f"SELECT '{CANARY}' FROM notes WHERE 1 / 0 = 1")
    secrets = [CANARY, "globex", "acme", *arena.secrets]
    for process in arena.ours.processes:
        assert process.lines
        assert [line for line in process.lines for secret in secrets if secret in line] == []
