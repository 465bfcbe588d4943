"""An exchange, message by message; test_relay.py has what a relay makes of it."""

from __future__ import annotations

import pytest

from sidecar.postgres.exchange import COMPLETE, ERROR, READY, ROW, Budget, Exchange, Part
from sidecar.postgres.wire import PARSED, Step, answer, message

BEGUN, ONE = answer("BEGIN"), answer("SELECT 1", b"f")
BEGIN, ASK = Step(sql="BEGIN", usual=BEGUN), Step(sql="SELECT false", usual=ONE)
DESCRIBED = message(ord("t"), b"\0\0") + message(ord("n"), b"")
A_ROW = message(ROW, b"\0\1\0\0\0\1x")


def known() -> Exchange:
    return Exchange((BEGIN, ASK), description=b"Parse", described=DESCRIBED, after=(ASK,))


def test_what_is_written_before_and_after_the_call() -> None:
    exchange = known()
    assert exchange.first == BEGIN.messages() + ASK.messages() + b"Parse"
    assert exchange.last == ASK.messages() + b"S\0\0\0\x04"
    assert Exchange().first == Exchange().last == b""


def test_answers_that_are_as_usual_are_stepped_over_at_once() -> None:
    exchange = known()
    usual = BEGUN.messages + ONE.messages + PARSED + DESCRIBED
    assert exchange.after_usual(b"..." + usual + A_ROW, 3) == 3 + len(usual)
    assert (exchange.rows, exchange.described, exchange.over) == ([(), (b"f",)], DESCRIBED, False)
    exchange.take(READY, b"T")
    assert exchange.after_usual(ONE.messages, 0) == len(ONE.messages)
    assert exchange.rows == [(), (b"f",), (b"f",)]
    exchange.passes(READY, 6)
    assert exchange.over


def test_without_anything_after_the_rest_is_the_drivers() -> None:
    exchange = Exchange((BEGIN,))
    assert exchange.after_usual(BEGUN.messages, 0) == len(BEGUN.messages)
    assert exchange.over


@pytest.mark.parametrize(
    ("exchange", "data"),
    [
        (known(), BEGUN.messages + answer("SELECT 1", b"t").messages + PARSED + DESCRIBED),
        (known(), (BEGUN.messages + ONE.messages + PARSED + DESCRIBED)[:-1]),
        (Exchange((BEGIN,), description=b"Parse"), BEGUN.messages + PARSED + DESCRIBED),
        (Exchange((BEGIN, Step(sql="SELECT 1"))), BEGUN.messages + ONE.messages),
        (Exchange(), BEGUN.messages),
    ],
    ids=["another row", "in pieces", "another description", "an answer that nobody knows", "nothing due"],
)
def test_anything_else_is_left_to_be_read(exchange: Exchange, data: bytes) -> None:
    assert exchange.after_usual(data, 0) == 0
    assert exchange.rows == []


def test_only_the_beginning_of_the_answers_is_compared() -> None:
    exchange = known()
    assert exchange.after_usual(b"", 0) == 0  # nothing has come yet
    exchange.take(COMPLETE, b"BEGIN\0")
    assert exchange.after_usual(A_ROW, 0) == 0
    assert exchange.after_usual(BEGUN.messages + ONE.messages + PARSED + DESCRIBED, 0) == 0


@pytest.mark.parametrize("budget", [None, Budget(rows=1000, row=100)])
def test_whole_rows_are_stepped_over(budget: Budget | None) -> None:
    exchange = Exchange(budget=budget)
    assert exchange.after_rows(A_ROW * 3 + A_ROW[:-1], 0) == 3 * len(A_ROW)
    assert exchange.after_rows(A_ROW + message(COMPLETE, b"SELECT 1\0"), 0) == len(A_ROW)
    assert exchange.row_bytes == 4 * len(A_ROW)


def test_the_first_error_is_the_drivers_and_the_next_are_not() -> None:
    exchange = known()
    assert not exchange.is_ours(ERROR)
    exchange.passes(ERROR, 10)
    assert exchange.failed is Part.BEFORE
    assert exchange.is_ours(ERROR)
