"""Questions, answers and news between two ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import RpcFault
from sidecar.workers.link import LinkError
from tests.workers.wires import Wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


async def echo(value: Any) -> Any:
    return value


async def fails(value: Any) -> Any:
    raise ValueError(value)


async def never(value: Any) -> Any:
    await asyncio.Event().wait()


@given(value=JSON)
def test_whatever_json_holds_comes_back_as_it_went(value: Any) -> None:
    async def ask() -> Any:
        return await Wire({"echo": echo}).near.ask("echo", value)

    assert asyncio.run(ask()) == value


async def test_answers_find_who_asked_in_whatever_order_they_come() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def in_turn(number: int) -> int:
        await gates[number].wait()
        return number

    wire = Wire({"in_turn": in_turn})
    asked = [asyncio.ensure_future(wire.near.ask("in_turn", number)) for number in range(3)]
    for number in (2, 0, 1):
        gates[number].set()
        assert await asked[number] == number


async def test_news_is_told_and_needs_no_answer() -> None:
    heard: list[Any] = []
    wire = Wire(news={"news": heard.append})
    wire.far.tell("news", {"a": 1})
    wire.far.tell("news")
    await asyncio.sleep(0)
    assert heard == [{"a": 1}, None]
    assert len(wire.lines) == 2


async def test_a_failure_of_the_other_end_is_reported_there_and_without_its_text_here() -> None:
    wire = Wire({"fails": fails})
    with pytest.raises(LinkError) as caught:
        await wire.near.ask("fails", "secret value")
    [fault] = wire.faults.of(RpcFault)
    assert (fault.method, type(fault.error)) == ("workers/fails", ValueError)
    assert "secret" not in str(caught.value) + wire.lines[-1].decode()


@pytest.mark.parametrize("cut", [True, False])
async def test_an_end_that_is_stuck_is_not_waited_for(cut: bool) -> None:
    wire = Wire({"never": never})
    wire.cut = cut
    with pytest.raises(LinkError, match="no answer"):
        await wire.near.ask("never", seconds=0.01)


async def test_an_answer_that_comes_too_late_is_nobody_s() -> None:
    gate = asyncio.Event()

    async def late(value: Any) -> str:
        await gate.wait()
        return "late"

    wire = Wire({"late": late, "echo": echo})
    with pytest.raises(LinkError):
        await wire.near.ask("late", seconds=0.01)
    gate.set()
    assert await wire.near.ask("echo", "next") == "next"


async def test_who_waits_is_told_when_the_other_end_is_gone() -> None:
    wire = Wire({"never": never})
    asked = asyncio.ensure_future(wire.near.ask("never"))
    await asyncio.sleep(0)
    wire.near.end()
    with pytest.raises(LinkError, match="gone"):
        await asked
