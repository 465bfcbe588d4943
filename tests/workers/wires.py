"""Two ends of a link in this process: what one writes the other hears in the next turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.workers.link import Answerer, Link
from tests.fakes import Recorder


class Wire:
    """A link whose two ends are here. What passes is kept in `lines`, and while `cut` lost."""

    def __init__(
        self,
        answers: Mapping[str, Answerer] | None = None,
        news: Mapping[str, Callable[[Any], None]] | None = None,
    ) -> None:
        """`answers` are the far end's, `news` the near end's."""
        self.cut = False
        self.lines: list[bytes] = []
        self.faults = Recorder()
        self.near = Link(lambda line: self._carry(line, self.far), Recorder(), news=news)
        self.far = Link(lambda line: self._carry(line, self.near), self.faults, answers=answers)

    def _carry(self, line: bytes, to: Link) -> None:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        self.lines.append(line)
        if not self.cut:
            asyncio.get_running_loop().call_soon(to.heard, line[:-1])
