"""The guard: starts PostgreSQL, and stops it when the one who asked for it is gone, however that one ended.

Run as a program of its own, in its own session: `guard.py ACCOUNT LOCK COMMAND...`. ACCOUNT is `uid:gid` or
empty; LOCK is the number of an inherited file descriptor that the server inherits in turn; standard input is
a pipe whose other end only the asking process holds. Its end of file is the order to stop: the kernel gives
it after a kill -9 too. Imports the standard library alone, and nothing of ours, to start in a moment.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from typing import Any, Final

ESCALATION: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""Signals to stop a server, and how long each may take in seconds: fast shutdown, immediate one, the end.
PostgreSQL documentation, "Shutting Down the Server"."""
LOOK_SECONDS: Final = 0.2
"""Between two looks whether the server still runs."""


def main(arguments: list[str]) -> int:
    """Returns when the server is gone; its exit status."""
    account, lock, *command = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler and not SIG_IGN, which the server would inherit.
        signal.signal(number, lambda *_: None)
    try:
        server = subprocess.Popen(  # noqa: S603  the command is ours
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(int(lock),),
            cwd="/",  # the account may not be able to enter the folder we were started in
            **_run_as(account),
        )
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201  the server's log
        return 1
    while server.poll() is None:
        if select.select((0,), (), (), LOOK_SECONDS)[0] and not os.read(0, 1024):
            return stop(server)
    return server.returncode


def stop(server: subprocess.Popen[bytes]) -> int:
    """Ends the server, gently first. Its exit status."""
    for number, patience in ESCALATION:
        server.send_signal(number)
        try:
            return server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    return server.wait()


def _run_as(account: str) -> dict[str, Any]:
    if not account:
        return {}
    uid, gid = account.split(":")
    return {"user": int(uid), "group": int(gid), "extra_groups": []}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
