"""Every fuzz target runs, finds nothing in its seeds and some mutations, and would find a fault."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz import engine, verb_gate

TARGETS = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path != Path(__file__) and "engine.main(one, SEEDS)" in path.read_text()
)
COUNT = 1500


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.{request.param}")


def test_every_target_is_found() -> None:
    assert {"token_parser", "verb_gate", "messages", "policy"} <= set(TARGETS)


def test_seeds_and_some_mutations_find_nothing(target: ModuleType) -> None:
    mutator = engine.Mutator(target.SEEDS, seed=7)
    for data in (*target.SEEDS, *(mutator.next() for _ in range(COUNT))):
        target.one(data)


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = (engine.Mutator(verb_gate.SEEDS, seed=3) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_a_fault_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(data: bytes) -> None:
        assert b"SET" not in data, "it lets SET pass"

    count, findings = engine.mutate(broken, verb_gate.SEEDS, 0.2, seed=1)
    assert count > 50
    assert findings
    assert "it lets SET pass" in capsys.readouterr().out


def test_the_second_reader_of_sql_reads_for_itself() -> None:
    for sql, word in (("/* /* */ */ (select", "SELECT"), ("--\r Set", "SET"), ("/*", ""), ("select_", "?")):
        assert verb_gate.first_word(sql) == word, sql
