"""The runners: how each language's is built and started (clients/CONTRACT.md)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CLIENTS: Final = Path(__file__).parents[2] / "clients"
ANSWER_SECONDS: Final = 60
MAVEN: Final = ("-q", "-B", "-Dstyle.color=never", "-Dmaven.compiler.failOnWarning")


@dataclass(frozen=True)
class Language:
    """A client with a runner."""

    name: str
    needs: tuple[str, ...]
    """Programs of its toolchain."""
    build: tuple[tuple[str, ...], ...]
    """Commands in the client's folder; {out} is a folder for what they make."""
    run: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return CLIENTS / self.name

    @property
    def missing(self) -> str:
        """The first program that is not here; "" when all are."""
        return next((name for name in self.needs if shutil.which(name) is None), "")


LANGUAGES: Final = (
    Language(name="python", needs=(), build=(), run=(sys.executable, "runner/runner.py")),
    Language(
        name="go",
        needs=("go",),
        build=(("go", "build", "-trimpath", "-o", "{out}/go", "./runner"),),
        run=("{out}/go",),
    ),
    Language(
        name="typescript",
        needs=("node", "npm"),
        build=(
            ("npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"),
            ("npm", "run", "--silent", "build"),
        ),
        run=("node", "runner/runner.mjs"),
    ),
    Language(
        name="java",
        needs=("java", "mvn"),
        build=(
            ("mvn", *MAVEN, "test-compile", "dependency:copy-dependencies", "-DoutputDirectory={out}/java"),
        ),
        run=(
            "java",
            "-XX:+UseSerialGC",
            "-cp",
            "target/classes:target/test-classes:{out}/java/*",
            "dev.usher.runner.Runner",
        ),
    ),
    Language(
        name="rust",
        needs=("cargo",),
        build=(("cargo", "build", "--quiet", "--target-dir", "target", "--example", "runner"),),
        run=("target/debug/examples/runner",),
    ),
)


def left_out() -> list[str]:
    """A line for every language whose toolchain is not here."""
    return [
        f"LEFT OUT: {language.name}, for `{language.missing}` is not installed"
        for language in LANGUAGES
        if language.missing
    ]


class Runner:
    """A running runner."""

    def __init__(self, language: Language, out: Path) -> None:
        self._process = subprocess.Popen(
            _filled(language.run, out),
            cwd=language.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("USHER_")},
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer to a request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the runner ended with {self._process.wait(5)}"
        return json.loads(line)

    def close(self) -> None:
        """Ends it. It fails when it does not end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(ANSWER_SECONDS) == 0
        finally:
            self._process.kill()
            self._process.stdout.close()


def build(language: Language, out: Path) -> None:
    """Builds a runner. Raises CalledProcessError."""
    for command in language.build:
        subprocess.run(_filled(command, out), cwd=language.folder, check=True, stdout=sys.stderr)


def _filled(command: Sequence[str], out: Path) -> list[str]:
    return [word.replace("{out}", str(out)) for word in command]
