"""All tests but the attacks and the bench's trial, as `make test` runs them: in two processes beside one
another, because much of their time is waiting for other programs.

`python -m tests.run`; arguments go to pytest, which then runs alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

ELSEWHERE: Final = ("tests/attacks", "tests/bench/test_run.py")
BESIDE: Final = (
    "tests/clients",
    "tests/cli",
    "tests/neon",
    "tests/workers",
    "tests/web",
    "tests/connect",
    "tests/rpc",
)
"""About half of the time. They build in folders of their own."""


def main(arguments: Sequence[str]) -> int:
    """The first exit code of pytest that is not 0."""
    pytest = [sys.executable, "-m", "pytest"]
    if arguments:
        return subprocess.run([*pytest, *_ignoring(ELSEWHERE), *arguments], check=False).returncode
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen([*pytest, *BESIDE], stdout=said, stderr=subprocess.STDOUT)
        try:
            here = subprocess.run([*pytest, *_ignoring(ELSEWHERE + BESIDE)], check=False).returncode
            there = beside.wait()
        finally:
            beside.terminate()
            beside.wait()
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout.buffer)
    return here or there


def _ignoring(paths: Sequence[str]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
