"""The bench runs from end to end: few requests, and no word about how fast they were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 900
"""Far more than it takes, for a machine that is busy."""
NOT_HERE = ("yet", "PostgREST", "it has no ", "a figure that it needs is missing")
"""What may be missing: what Usher or a peer does not do, and ratios that rest on it."""


def toolchain(name: str) -> None:
    """Skips the test without a program; fails it when CI=true."""
    if shutil.which(name) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"`{name}` is not installed, and CI=true")
        pytest.skip(f"`{name}` is not installed")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the smallest plan."""
    for program in ("go", "node", "npm"):
        toolchain(program)
    out = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "bench.run", "--plan", "smoke", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return out, done


def found(out: Path) -> Any:
    return json.loads((out / "results.json").read_text())


@pytest.mark.timeout(SECONDS)
def test_every_contestant_is_measured(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = ran
    results = found(out)
    cases = results["cases"]
    for case in (
        "issue_es256 usher grpc 32",
        "issue_rs256 usher-rs256 grpc 32",
        "query10 usher grpc 32",
        "query10 hono http 32",
        "query10 naive grpc 32",
        "query10 echo grpc 32",
        "query10 asyncpg none 1",
        "sign_es256 pyjwt none 1",
        "transaction2 hono http 32",
        "jwks usher grpc 1",
        "query10 guards-all grpc 32",
        "query10 off-claims grpc 32",
        "query10 off-all grpc 32",
        "query10 mtls grpc 32",
        "query100 oneof grpc 32",
        "query10_at_5ms usher grpc 1",
        "transaction2_at_5ms usher connect 32",
    ):
        assert cases[case]["cpu_us" if "at_5ms" not in case else "p50_ms"]["median"] > 0, case
    assert results["errors"] == {}


@pytest.mark.timeout(SECONDS)
def test_ratios_are_made_of_what_was_measured(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = ran
    results = found(out)
    ratios, cases = results["ratios"], results["cases"]

    def cpu(case: str) -> float:
        return float(cases[case]["cpu_us"]["median"])

    made = cpu("query10 usher grpc 32") / cpu("query10 hono http 32")
    assert ratios["query10_grpc_vs_hono"] == pytest.approx(made, rel=1e-3)
    assert {"guards_on_vs_off", "rows100_vs_oneof", "added_ms_at_5ms", "extra_round_trips"} <= ratios.keys()
    assert {"p99_over_p50_at_80pct", "overload_goodput"} <= ratios.keys()
    assert "ratio" in done.stdout
    assert set(results["machine"]) >= {"commit", "machine"}


@pytest.mark.timeout(SECONDS)
def test_what_is_missing_says_why(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = ran
    results = found(out)
    strange = {
        name: why
        for name, why in results["missing"].items()
        if not any(known in why for known in NOT_HERE) and "stream" not in name
    }
    assert strange == {}
    assert not set(results["missing"]) & set(results["ratios"])


@pytest.mark.timeout(SECONDS)
def test_the_picture_is_svg(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = ran
    root = ElementTree.parse(out / "results.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) > 10
