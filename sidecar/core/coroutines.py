"""Coroutines that are begun by hand, for the sake of what is done between their first step and the rest."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Awaits the rest of `work`, whose first step, `work.send(None)`, has given `waits_for`."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # the task's cancellation
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
