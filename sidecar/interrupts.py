"""What an interrupt (Ctrl-C, SIGINT) does to a command: it ends at once with 130, wherever it stands.

Python would raise KeyboardInterrupt between any two steps of any library, and few are made for that: in a
wait of gRPC it becomes "cannot release un-acquired lock", in an import another error, and in a finalizer it
is lost. So nothing is unwound, unless a command has to tidy up: the kernel closes the connection, and the
sidecar then cancels the call's statement.
"""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False  # mypy's; to import typing would take longer than all else here
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType
    from typing import Any, Final, TypeVar

    T = TypeVar("T")

EXIT_CODE: Final = 130
"""128 and the signal's number, as shells say it (POSIX.1-2024, Shell Command Language, 2.8.2)."""


class _Shown:
    """What a command shows on the terminal while it works, and nothing after its end."""

    def __init__(self) -> None:
        self.erase = b""
        """What erases it; empty while nothing stands there."""
        self.over = False
        """Whether the process ends now: nothing more may be shown."""


SHOWN: Final = _Shown()


def end_at_once() -> None:
    """From now on an interrupt ends the process, unless it was started with interrupts ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """In this block an interrupt is a KeyboardInterrupt, for who has to tidy up."""
    ends = signal.getsignal(signal.SIGINT) is _end
    if ends:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ends:
            signal.signal(signal.SIGINT, _end)


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run: an interrupt cancels `main`, which tidies up, and is a KeyboardInterrupt then."""
    import asyncio

    with unwinding():
        return asyncio.run(main)


def _end(number: int, frame: FrameType | None) -> None:
    SHOWN.over = True
    with contextlib.suppress(OSError):
        os.write(2, SHOWN.erase)
    os._exit(EXIT_CODE)  # no finalizers: they would wait for gRPC's threads, and for who reads the output
