"""Rate limits: what is let through never exceeds the rate, and who waits as told is let through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy.rates import RateLimiter, full, take
from sidecar.core.policy.rules import Rate

RATES = st.builds(Rate, per_second=st.floats(0.001, 1000), burst=st.integers(1, 50))
GAPS = st.lists(st.floats(0, 5), max_size=60)


@given(RATES, GAPS)
def test_no_window_lets_more_through_than_burst_and_rate(rate: Rate, gaps: list[float]) -> None:
    now, bucket, let_through = 0.0, full(rate, 0.0), []
    for gap in gaps:
        now += gap
        bucket, wait = take(bucket, rate, now)
        if wait == 0.0:
            let_through.append(now)
    for first, start in enumerate(let_through):
        for count, end in enumerate(let_through[first:], 1):
            assert count <= rate.burst + (end - start) * rate.per_second + 1e-6


@given(RATES, GAPS)
def test_who_waits_as_told_is_let_through(rate: Rate, gaps: list[float]) -> None:
    now, bucket = 0.0, full(rate, 0.0)
    for gap in gaps:
        now += gap
        bucket, wait = take(bucket, rate, now)
        if wait > 0.0:
            assert wait <= 1 / rate.per_second
            now += wait
            bucket, again = take(bucket, rate, now)
            assert again == 0.0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    rate = Rate.of(1, 2)
    bucket = full(rate, 10.0)
    bucket, _ = take(bucket, rate, 10.0)
    bucket, _ = take(bucket, rate, 10.0)
    assert take(bucket, rate, 10.0)[1] == 1.0
    bucket, wait = take(bucket, rate, 5.0)
    assert wait == 1.0
    assert take(bucket, rate, 10.5)[1] == 0.5


def test_callers_do_not_share() -> None:
    limiter, rate = RateLimiter(), Rate.of(1, 1)
    assert limiter.take("a", rate, 0.0) == 0.0
    assert limiter.take("a", rate, 0.0) > 0.0
    assert limiter.take("b", rate, 0.0) == 0.0


def test_another_rate_begins_anew_and_the_same_one_does_not() -> None:
    limiter = RateLimiter()
    limiter.take("a", Rate.of(1, 1), 0.0)
    assert limiter.take("a", Rate.of(1, 1), 0.0) > 0.0
    assert limiter.take("a", Rate.of(2, 1), 0.0) == 0.0
    limiter.keep_only({"a"})
    assert limiter.take("a", Rate.of(2, 1), 0.0) > 0.0
    limiter.keep_only(set())
    assert limiter.take("a", Rate.of(2, 1), 0.0) == 0.0
