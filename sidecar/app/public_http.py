"""The program of the public listener's process: what web/public_child.py serves, with the log of the sidecar.

Run as `python -P -m sidecar.app.public_http ISSUER VERIFIERS LOG_FORMAT LOG_LEVEL CHANNEL SOCKETS`; the
last two are numbers of inherited files, VERIFIERS are names separated by commas.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterable

from sidecar.core.clock import SystemClock
from sidecar.telemetry.logs import configure, observe
from sidecar.web.public_child import serve, shield_from_signals


def command(issuer: str, verifiers: Iterable[str], log_format: str, log_level: str) -> list[str]:
    """What starts it, but for the numbers."""
    program = [sys.executable, "-P", "-m", "sidecar.app.public_http"]
    return [*program, issuer, ",".join(verifiers), log_format, log_level]


def main(arguments: list[str]) -> None:
    """Serves until told to stop."""
    issuer, verifiers, log_format, log_level, channel, sockets = arguments
    shield_from_signals()
    configure(log_format, log_level)
    asyncio.run(
        serve(
            socket.socket(fileno=int(channel)),
            [socket.socket(fileno=int(number)) for number in sockets.split(",")],
            issuer,
            SystemClock(),
            observe,
            verifiers.split(","),
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
