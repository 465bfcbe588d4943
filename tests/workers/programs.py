"""Small programs that behave as a worker may: they start, refuse, end, hang, and answer."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

_PROGRAM: Final = """
import json, os, signal, socket, sys, time
told = json.loads(sys.stdin.buffer.read())
channel = socket.socket(fileno=int(sys.argv[1]))
lines = channel.makefile("rb")
say = lambda **said: channel.sendall(json.dumps(said).encode() + b"\\n")
if told["does"] == "end":
    sys.exit(3)
if told["does"] == "refuse":
    say(tell="refused", value={"message": told["message"], "reason": told["reason"]})
    lines.readline()
say(tell="started", value={"addresses": {"grpc_address": told["address"]}, "replica": "one"})
say(tell="checks", value=[{"name": "keys", "ok": told["does"] != "ail", "detail": "public"}])
while line := lines.readline():
    said = json.loads(line)
    if said.get("ask") == "metrics":
        say(number=said["number"], value=[os.getpid()], failed=False)
    if said.get("tell") == "stop":
        time.sleep(told["does"] == "stay" and 60)
        sys.exit(0)
    if said.get("tell") == "fall":
        os.kill(os.getpid(), signal.SIGKILL)
"""

COMMAND: Final = (sys.executable, "-c", _PROGRAM)


def told(does: str = "serve", address: str = "127.0.0.1:1", **more: Any) -> bytes:
    """What it is handed over. `does`: serve, ail, stay, end, or refuse with message and reason."""
    return json.dumps({"does": does, "address": address} | more).encode()
