"""A process of ours: what it is given, what it says, and that it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from sidecar.web.child_process import ChildProcess

PATIENCE = 20.0
ECHO = """
import json, os, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
said = {"stdin": sys.stdin.read(), "arguments": len(sys.argv) - 1, "secret": os.environ.get("SECRET", "")}
if len(sys.argv) > 2:
    said["port"] = socket.socket(fileno=int(sys.argv[2])).getsockname()[1]
channel.sendall(json.dumps(said).encode() + b"\\n")
for line in channel.makefile("rb"):
    channel.sendall(b"again " + line)
"""
COMMAND = (sys.executable, "-c", ECHO)


class Heard:
    """The lines of a process, one after the other."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    def __call__(self, line: bytes) -> None:
        self._lines.put_nowait(line)

    async def next(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._lines.get()


async def test_it_is_spoken_to_in_lines_and_ends_when_its_channel_is_closed() -> None:
    heard = Heard()
    child = await ChildProcess.start(COMMAND, heard, stdin=b"settings")
    assert b'"stdin": "settings", "arguments": 1' in await heard.next()
    child.send(b"one\ntwo\n")
    assert [await heard.next(), await heard.next()] == [b"again one", b"again two"]
    assert child._transport is not None
    child._transport.close()
    assert await child.reap(PATIENCE) == 0


async def test_it_is_given_sockets_and_no_more_of_the_environment_than_it_should(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "password")
    heard = Heard()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        kept = {"PATH": os.environ["PATH"]}
        child = await ChildProcess.start(COMMAND, heard, sockets=[bound], environment=kept)
        said = await heard.next()
        assert f'"arguments": 2, "secret": "", "port": {bound.getsockname()[1]}'.encode() in said
    child.kill()
    assert await child.reap(PATIENCE) == -9
    child.send(b"nobody hears it\n")


async def test_one_that_does_not_end_in_time_is_ended() -> None:
    heard = Heard()
    child = await ChildProcess.start(COMMAND, heard)
    await heard.next()
    assert await child.reap(0.0) == -9


async def test_one_that_reads_nothing_of_what_it_is_handed_is_no_failure() -> None:
    child = await ChildProcess.start((sys.executable, "-c", ""), Heard(), stdin=b"x" * 1024**2)
    assert await child.reap(PATIENCE) == 0


async def test_a_program_that_is_not_there_leaves_nothing_open() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        await ChildProcess.start(("/no-such-program",), Heard())
