"""A thousand random statements: none shows tenant A what is B's, and none harms the request after it."""

from __future__ import annotations

import os

from tests.attacks.arena import Arena
from tests.attacks.corpus import CANARY
from tests.attacks.grammar import Grammar

COUNT = int(os.environ.get("ATTACK_MUTATIONS", "1000"))
SEED = int(os.environ.get("ATTACK_SEED", "1"))
"""Another seed gives other statements: `make attacks` takes both from the environment."""
FEWEST_LEAKS_OF_NAIVE = 20


def test_a_seed_gives_the_same_statements_again() -> None:
    first, second, other = Grammar(SEED), Grammar(SEED), Grammar(SEED + 1)
    statements = [first.statement() for _ in range(100)]
    assert statements == [second.statement() for _ in range(100)]
    assert statements != [other.statement() for _ in range(100)]


def test_no_mutation_gets_through(arena: Arena) -> None:
    ran, leaked, harmed = mutate(arena, "ours", COUNT)
    assert leaked == []
    assert harmed == []
    assert ran > COUNT / 20, "most statements must be worth running"
    assert arena.serves()


def test_mutations_get_through_the_naive_executor(arena: Arena) -> None:
    _, leaked, harmed = mutate(arena, "naive", 300)
    assert len(leaked) > FEWEST_LEAKS_OF_NAIVE * 300 / 1000
    assert harmed


def mutate(arena: Arena, side: str, count: int) -> tuple[int, list[str], list[str]]:
    """How many statements ran to their end, those that showed B's to A, and those that harmed B's next."""
    arena.restore(side)
    grammar = Grammar(SEED)
    ran, leaked, harmed = 0, [], []
    for _ in range(count):
        sql = grammar.statement()
        outcome = arena.request(side, "A", sql)
        ran += outcome.error is None
        # Bulletins are for both tenants.
        shown = CANARY in outcome.text and "bulletins" not in sql
        if shown or '"bob"' in outcome.text or any("bob" in row for row in outcome.rows):
            leaked.append(sql)
        after = arena.request(side, "B", "SELECT body, current_setting('search_path') FROM notes")
        if after.rows != ((CANARY, '"$user", public'),):
            harmed.append(sql)
    return ran, leaked, harmed
