"""Runs a fuzz target: a module with `SEEDS`, inputs to begin with, and `one`, which raises for a fault.

A new target is a new file beside this one, made like the others; `test_targets.py` finds it.

    python -m tests.fuzz.<target> --seconds 600

With atheris (`pip install atheris`; it is in no lock) the search is led by coverage. Without it the seeds are
mutated at random, the same way for the same `--seed`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

HAS_ATHERIS: Final = importlib.util.find_spec("atheris") is not None
FUZZING: Final = sys.argv[0].startswith(str(Path(__file__).parent))
"""Whether a target runs as a command: only then is it worth to slow the code down by counting branches."""

One = Callable[[bytes], None]

LONGEST: Final = 4096
DICTIONARY: Final = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"'", b'"', b"$$", b"/*", b"*/", b"--", b";", b"("),
    *(b"\n", b"\r", b"\v", b"\f", b"\t", b" ", b"\xc2\xa0", b"\xe2\x80\xa8", b"{", b"}", b"[", b"]", b","),
    *(b"SELECT", b"WITH", b"SET", b"null", b"true", b"1e999", b"-1", b"\\u0000", b"\\ud800", b".", b"="),
    *(b'"alg"', b'"kid"', b'"crit"', b'"none"', b'"exp":', b"9" * 40, b"[" * 40, b'{"a":' * 20, b"\x80\x01"),
)


def instrumented() -> AbstractContextManager[object]:
    """Imports in this block are watched for coverage, where atheris is there and a target runs."""
    if not (HAS_ATHERIS and FUZZING):
        return contextlib.nullcontext()
    import atheris

    watched: AbstractContextManager[object] = atheris.instrument_imports(include=["sidecar", "jwt"])
    return watched


def base64url(octets: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Mutator:
    """Inputs made from seeds, and from earlier inputs."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._pool = list(seeds)
        self._random = random.Random(seed)

    def next(self) -> bytes:
        """Another input."""
        chance = self._random
        data = bytearray(chance.choice(self._pool))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(7):
                case 0:
                    data[at:at] = chance.choice(DICTIONARY)
                case 1:
                    data[at : at + chance.randrange(1, 9)] = b""
                case 2 if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
                case 3:
                    data[at : at + 4] = chance.randbytes(chance.randrange(1, 5))
                case 4:
                    data[at:at] = data[: chance.randrange(64)] * chance.randrange(1, 4)
                case 5:
                    data[at:] = chance.choice(self._pool)[at:]
                case _:
                    data[at:at] = chance.choice(self._pool)[: chance.randrange(64)]
        made = bytes(data[:LONGEST])
        if chance.random() < 0.02 and len(self._pool) < 2000:
            self._pool.append(made)
        return made


def mutate(one: One, seeds: Sequence[bytes], seconds: float, seed: int) -> tuple[int, list[bytes]]:
    """Runs seeds and mutations of them; how many, and the inputs that raised."""
    mutator, findings, count = Mutator(seeds, seed), [], 0
    end = time.monotonic() + seconds
    waiting = list(seeds)
    while time.monotonic() < end:
        data = waiting.pop() if waiting else mutator.next()
        count += 1
        try:
            one(data)
        except Exception as error:
            findings.append(data)
            print(f"FINDING {type(error).__name__}: {error}\n  {data!r}", flush=True)
    return count, findings


def main(one: One, seeds: Sequence[bytes]) -> int:
    """The command of a target; the exit code is not 0 when it found a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="do without atheris")
    chosen = parser.parse_args()
    if HAS_ATHERIS and not chosen.plain:
        _by_coverage(one, seeds, chosen.seconds, chosen.seed)
    count, findings = mutate(one, seeds, chosen.seconds, chosen.seed)
    print(f"{count} executions in {chosen.seconds} s, {len(findings)} findings")
    return 1 if findings else 0


def _by_coverage(one: One, seeds: Sequence[bytes], seconds: int, seed: int) -> None:
    """libFuzzer's search. It ends the process, with a report of its own."""
    import atheris

    folder = Path(tempfile.mkdtemp(prefix="usher-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in DICTIONARY))
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={words}"]
    options += ["-print_final_stats=1", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)
