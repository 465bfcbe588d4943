"""What is shown while a command waits: a line on the terminal that counts the seconds and goes away."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

from sidecar.interrupts import SHOWN

PATIENCE: Final = 2.0
"""Seconds before anything is shown."""
_CLEAR: Final = "\r\x1b[K"  # ECMA-48, EL: erase to the end of the line


@contextlib.contextmanager
def waiting(doing: object, patience: float = PATIENCE, tick: float = 1.0) -> Iterator[None]:
    """Says what is being waited for, on a terminal alone, when the block takes longer than `patience`.

    Standard output stays as it is. `doing`, as text, must be printable: it may come from the command line. It
    may change meanwhile.
    """
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_count, args=(doing, done, patience, tick), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _count(doing: object, done: threading.Event, patience: float, tick: float) -> None:
    started = time.monotonic()
    if done.wait(patience):
        return
    # A terminal that went away is no reason to fail: the command's own output will tell.
    with contextlib.suppress(OSError):
        SHOWN.erase = _CLEAR.encode()
        while not SHOWN.over:
            sys.stderr.write(f"{_CLEAR}usher: {doing}, {time.monotonic() - started:.0f} s ")
            sys.stderr.flush()
            if done.wait(tick):
                break
        SHOWN.erase = b""
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()
