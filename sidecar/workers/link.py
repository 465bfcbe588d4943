"""Questions and news between two processes of ours, both ways, in lines of JSON on a pair of sockets.

Nobody else can write there, so that what comes is believed. Nothing of it is ever logged: keys pass by here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sidecar.core.events import Observer, RpcFault

ASK_SECONDS: Final = 5.0
"""For an answer. Who is asked answers from memory: longer means that it is stuck."""

Answerer = Callable[[Any], Awaitable[Any]]
"""From what JSON holds to what JSON holds."""


class LinkError(Exception):
    """The other end did not answer: it is stuck, gone, or failed."""


class Link:
    """One end. `answers` are what the other end may ask, `news` what it may tell; each by its name."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        observer: Observer,
        answers: Mapping[str, Answerer] | None = None,
        news: Mapping[str, Callable[[Any], None]] | None = None,
    ) -> None:
        self._write = write
        self._observer = observer
        self._answers = dict(answers or {})
        self._news = dict(news or {})
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, what: str, value: Any = None, *, seconds: float = ASK_SECONDS) -> Any:
        """The other end's answer. Raises LinkError."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send({"ask": what, "number": number, "value": value})
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise LinkError(f"no answer within {seconds:g} s") from None
        finally:
            del self._asked[number]

    def tell(self, what: str, value: Any = None) -> None:
        """News, for which there is no answer."""
        self._send({"tell": what, "value": value})

    def heard(self, line: bytes) -> None:
        """Takes a line of the other end's."""
        said: dict[str, Any] = json.loads(line)
        if "tell" in said:
            self._news[said["tell"]](said["value"])
        elif "ask" in said:
            task = asyncio.ensure_future(self._answer(said["ask"], said["number"], said["value"]))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif (asked := self._asked.get(said["number"])) is not None and not asked.done():
            if said["failed"]:
                asked.set_exception(LinkError("the other end failed; its log says why"))
            else:
                asked.set_result(said["value"])

    def end(self) -> None:
        """The other end is gone: whoever waits for an answer is told so."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(LinkError("the other end is gone"))

    async def _answer(self, what: str, number: int, value: Any) -> None:
        answer, failed = None, False
        try:
            answer = await self._answers[what](value)
        except Exception as error:
            failed = True
            self._observer(RpcFault(method=f"workers/{what}", request_id="", error=error))
        self._send({"number": number, "value": answer, "failed": failed})

    def _send(self, said: Mapping[str, Any]) -> None:
        self._write(json.dumps(said, separators=(",", ":")).encode("ascii") + b"\n")
