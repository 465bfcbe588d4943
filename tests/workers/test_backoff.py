"""How long a worker waits to be replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.workers.backoff import LONGEST_SECONDS, STEADY_SECONDS, Backoff


def test_the_first_is_replaced_at_once_and_each_next_one_later() -> None:
    backoff = Backoff()
    assert [backoff.after(1.0) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_one_that_was_well_for_long_is_a_first_one_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.0)
    assert [backoff.after(STEADY_SECONDS), backoff.after(0.0)] == [0.0, 0.5]


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_it_never_waits_longer_than_it_says(ran: list[float]) -> None:
    backoff = Backoff()
    assert all(0.0 <= backoff.after(seconds) <= LONGEST_SECONDS for seconds in ran)
