"""What each client is published as: built, weighed, and its hand-written lines counted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.clients.runners import CLIENTS, MAVEN

GO_MODULE: Final = "usher.dev/client-go"
GO_VERSION: Final = "v0.1.0"


@dataclass(frozen=True)
class Package:
    """How a client is packed, and where what people wrote of it stands."""

    pack: Callable[[Path], Path]
    """Makes the package in a folder; gives its file."""
    sources: str
    """A pattern of the hand-written files, in the client's folder."""
    products: tuple[str, ...] = ()
    """Folders that building makes there: without them it is as after a clone."""

    def lines(self, language: str) -> tuple[int, int]:
        """All lines of the hand-written files, and those that are neither empty nor comment."""
        folder = CLIENTS / language
        texts = [path.read_text() for path in folder.glob(self.sources) if not path.name.endswith("_test.go")]
        return sum(len(text.splitlines()) for text in texts), sum(map(code_lines, texts))


def code_lines(text: str) -> int:
    """The lines that are neither empty nor comment; a Python docstring is one."""
    without = re.sub(r'"""[\s\S]*?"""|/\*[\s\S]*?\*/', "", text)
    return len([line for line in without.splitlines() if not re.match(r"\s*(//|# |$)", line)])


def python(out: Path) -> Path:
    """The wheel."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", out, ".", language="python")
    return next(out.glob("*.whl"))


def go(out: Path) -> Path:
    """The module's zip file, in a proxy of files (go.dev/ref/mod, "GOPROXY protocol")."""
    folder = out / GO_MODULE / "@v"
    folder.mkdir(parents=True)
    (folder / "list").write_text(f"{GO_VERSION}\n")
    info = {"Version": GO_VERSION, "Time": "2026-01-01T00:00:00Z"}
    (folder / f"{GO_VERSION}.info").write_text(json.dumps(info))
    shutil.copy(CLIENTS / "go/go.mod", folder / f"{GO_VERSION}.mod")
    made = folder / f"{GO_VERSION}.zip"
    listed = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", language="go").split()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in listed:
            # A module inside another is no part of it (same page, "Module zip files").
            if not name.startswith("tools/"):
                archive.write(CLIENTS / "go" / name, f"{GO_MODULE}@{GO_VERSION}/{name}")
    return made


def typescript(out: Path) -> Path:
    """The tarball; what building needs must be installed."""
    _run("npm", "pack", "--silent", "--pack-destination", out, language="typescript")
    return next(out.glob("*.tgz"))


def java(out: Path) -> Path:
    """The jar."""
    _run("mvn", *MAVEN, "-DskipTests", "package", language="java")
    return next((CLIENTS / "java/target").glob("usher-client-*.jar"))


def rust(out: Path) -> Path:
    """The crate."""
    options = ("--no-verify", "--allow-dirty", "--target-dir", out)
    _run("cargo", "package", "--quiet", "--package", "usher-client", *options, language="rust")
    return next((out / "package").glob("*.crate"))


PACKAGES: Final = {
    "python": Package(python, "usher/*.py"),
    "go": Package(go, "usher/*.go"),
    "typescript": Package(typescript, "src/*.ts", ("node_modules", "dist")),
    "java": Package(java, "src/main/java/dev/usher/*.java", ("target", "example/target")),
    "rust": Package(rust, "src/*.rs", ("target",)),
}


def _run(*command: str | Path, language: str) -> str:
    done = subprocess.run(command, cwd=CLIENTS / language, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
