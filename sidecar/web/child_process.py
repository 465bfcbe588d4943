"""A process of ours: started with one end of a pair of sockets, spoken to in lines, ended when it must be.

It ends when its end of the sockets closes: whoever is gone leaves nobody behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sidecar.web.feed import Lines

ENDING_SECONDS: Final = 5.0
"""For a process to end once all its connections are closed."""


class ChildProcess:
    """One process, from its start to its end."""

    def __init__(self, process: subprocess.Popen[bytes], heard: Callable[[bytes], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """When its end of the channel is closed, which nothing but its end does."""
        self._process = process
        self._heard = heard
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        heard: Callable[[bytes], None],
        *,
        sockets: Sequence[socket.socket] = (),
        environment: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> ChildProcess:
        """Starts `command`, which is given one argument more: the number of its end of the channel.

        With `sockets` it is given a second one: their numbers, by commas. `heard` is called with each line
        that it sends; `stdin` is what it reads on standard input. Raises OSError.
        """
        ours, theirs = socket.socketpair()
        numbers = ",".join(str(each.fileno()) for each in sockets)
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603, ASYNC220  the command is ours; returns at its exec
                    [*command, str(theirs.fileno()), *([numbers] if sockets else [])],
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *(each.fileno() for each in sockets)),
                    env=environment,
                    # A terminal's Ctrl-C is for the sidecar. No session of its own: Linux would let it take
                    # turns with whole sessions, seconds long where many are busy (sched(7), autogroup).
                    process_group=0,
                )
            except BaseException:
                ours.close()
                raise
        child = cls(process, heard)
        try:
            if stdin is not None:
                await asyncio.to_thread(child._hand_over, stdin)
            child._transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Lines(heard, child._end), ours
            )
        except BaseException:
            child.kill()
            process.wait()  # it was killed: at once
            ours.close()
            if process.stdin is not None:
                process.stdin.close()
            raise
        return child

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Sends a line, if there is somebody to read it."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line)

    async def reap(self, patience: float) -> int:
        """Waits for the end, makes one after `patience` seconds, and returns the exit status."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(self.ended)
        try:
            code = await asyncio.to_thread(self._process.wait, ENDING_SECONDS if self.ended.done() else 0.0)
        except subprocess.TimeoutExpired:
            self.kill()
            code = await asyncio.to_thread(self._process.wait)
        if self._transport is not None:
            self._transport.close()
        return code

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def _hand_over(self, text: bytes) -> None:
        assert self._process.stdin is not None
        # One that has ended reads nothing; its end is seen on the channel.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(text)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
