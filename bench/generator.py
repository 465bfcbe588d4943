"""The load generator: a program in Go (bench/load), so that it costs far less than what it measures."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(__file__).parent / "load"
FACTOR: Final = 3
"""A run may take so many times as long as planned before it is given up: a busy machine is slow to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One kind of request, as bytes; `bodies` take turns."""

    kind: str
    address: str
    path: str
    bodies: Sequence[bytes] = ()
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to send: see the type Plan in bench/load/main.go."""

    calls: Sequence[Call]
    outstanding: int
    seconds: float
    warm: float = 0.5
    least: int = 10
    """So many operations must end, even if it takes up to `deadline` longer."""
    rate: float = 0.0
    connections: int = 4
    deadline: float = 20.0
    tls: Mapping[str, str] | None = None

    def document(self) -> bytes:
        """The plan as the generator reads it."""
        calls = [
            {
                "kind": call.kind,
                "address": call.address,
                "path": call.path,
                "method": call.method,
                "headers": dict(call.headers),
                "bodies": [base64.b64encode(body).decode() for body in call.bodies],
            }
            for call in self.calls
        ]
        return json.dumps(
            {
                "calls": calls,
                "outstanding": self.outstanding,
                "rate": self.rate,
                "connections": min(self.connections, self.outstanding),
                "warm_seconds": self.warm,
                "seconds": self.seconds,
                "least": self.least,
                "deadline": self.deadline,
                "tls": self.tls,
            }
        ).encode()


def build(folder: Path) -> Path:
    """Compiles it; the program. The first time Go fetches its modules."""
    if shutil.which("go") is None:
        raise SystemExit("bench: the load generator is written in Go; install Go 1.26 or later")
    program = folder / "load"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=SOURCES, check=True, timeout=600)
    return program


async def drive(program: Path, load: Load, begin: Callable[[], None], end: Callable[[], None]) -> Any:
    """Runs one load; `begin` and `end` are called around the measured time. Returns what was seen.

    It is the type Seen in bench/load/drive.go.
    """
    process = await asyncio.create_subprocess_exec(
        program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout((load.warm + load.seconds + load.deadline + 10) * FACTOR):
            process.stdin.write(load.document())
            process.stdin.write_eof()
            for word, note in ((b"begin\n", begin), (b"end\n", end)):
                line = await process.stdout.readline()
                if line != word:
                    raise RuntimeError(f"the load generator did not say {word!r} but {line!r}")
                note()
            seen = json.loads(await process.stdout.read())
            await process.wait()
            return seen
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
