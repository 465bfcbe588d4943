"""What a terminal is shown while a command waits; a real terminal, of the kernel's."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from sidecar.cli.progress import waiting

SECONDS = 10.0


class Terminal:
    """Standard error as a terminal, and what was written to it."""

    def __init__(self) -> None:
        self._ours, theirs = os.openpty()
        self.stderr: TextIO = os.fdopen(theirs, "w")

    def read(self) -> str:
        """What is there; waits until something is."""
        assert select.select([self._ours], [], [], SECONDS)[0]
        return os.read(self._ours, 4096).decode()

    def nothing(self) -> bool:
        """Whether nothing more was written."""
        return not select.select([self._ours], [], [], 0)[0]

    def close(self) -> None:
        self.stderr.close()
        os.close(self._ours)


@contextlib.contextmanager
def on_a_terminal() -> Iterator[Terminal]:
    """In the test itself: pytest takes standard error back before it."""
    there = Terminal()
    with contextlib.redirect_stderr(there.stderr):
        yield there
    there.close()


def test_it_counts_and_goes_away() -> None:
    with on_a_terminal() as terminal:
        before = threading.active_count()
        with waiting("waiting for 127.0.0.1:1", patience=0.0, tick=0.01):
            assert terminal.read().startswith("\r\x1b[Kusher: waiting for 127.0.0.1:1, 0 s ")
            assert "usher: waiting" in terminal.read()  # once more
        assert terminal.read().endswith("\r\x1b[K")
        assert threading.active_count() == before


def test_what_is_quick_is_quiet() -> None:
    with on_a_terminal() as terminal:
        with waiting("waiting"):
            pass
        assert terminal.nothing()


def test_it_goes_away_when_the_command_fails() -> None:
    with on_a_terminal() as terminal:
        with contextlib.suppress(KeyboardInterrupt), waiting("waiting", patience=0.0, tick=60.0):
            terminal.read()
            raise KeyboardInterrupt
        assert terminal.read() == "\r\x1b[K"


def test_a_file_or_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with waiting("waiting", patience=0.0, tick=0.0):
        assert threading.active_count() == before
    assert capsys.readouterr().err == ""
