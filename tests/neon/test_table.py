"""The table of the scenarios."""

from __future__ import annotations

from tests.neon.table import Row, lines


def test_the_table_ends_with_sums() -> None:
    rows = [
        Row(scenario="one", rotations=10, restarts=1, checked=1200, naive=7),
        Row(scenario="the other one", rotations=2, checked=34, wrongful=5),
    ]
    assert list(lines(rows)) == [
        "scenario       rotations  restarts  tokens checked  wrongful refusals  naive signer's",
        "one                   10         1           1,200                  0               7",
        "the other one          2         0              34                  5               0",
        "all                   12         1           1,234                  5               7",
    ]


def test_rows_of_one_scenario_add_up() -> None:
    row = Row(scenario="one", rotations=1, restarts=2, checked=3, wrongful=4, naive=5)
    assert (row + row).figures == (2, 4, 6, 8, 10)
