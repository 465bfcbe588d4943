"""The README's commands, pasted in their order into one shell against a running sidecar."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.processes import USHER, Process, environment

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, section: str = "Five minutes to the first scoped row") -> list[str]:
    """The code blocks of a section, by what stands behind their opening fence."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


@pytest.fixture(scope="module")
def pasted(live_sidecar: Process) -> str:
    """What the terminal shows."""
    script = "\n".join(
        f"echo '#{number}'\n{block}" for number, block in enumerate(blocks("sh")) if "make run" not in block
    )
    for written, actual in (
        (".venv/bin/usher", USHER),
        ("127.0.0.1:8080", live_sidecar.addresses["http"]),
        ("127.0.0.1:9090", live_sidecar.addresses["admin_http"]),
    ):
        assert written in script
        script = script.replace(written, actual)
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(grpc_address=live_sidecar.grpc_address),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_a_token_is_issued_and_decoded(pasted: str) -> None:
    assert '"sub": "alice"' in pasted
    assert '"tenant_id": "acme"' in pasted
    assert '"alg": "ES256"' in pasted


def test_the_keys_are_fetched_and_verify_the_token(pasted: str) -> None:
    assert '{"keys":[{"' in pasted
    assert '"use":"sig"' in pasted
    assert "does not verify" not in pasted


def test_alice_sees_what_the_readme_shows(pasted: str) -> None:
    shown = next(block for block in blocks("") if "SELECT 1" in block)
    assert shown in pasted


def test_the_other_tenant_sees_other_rows(pasted: str) -> None:
    assert "carol@globex.example" in pasted


def test_the_refusal_is_the_one_that_the_readme_shows(pasted: str) -> None:
    shown = next(line for line in README.splitlines() if line.startswith("usher: PERMISSION_DENIED"))
    assert shown in pasted


def test_postgres_says_whom_it_sees(pasted: str) -> None:
    assert '"user_id": "alice"' in pasted
    assert '"role": "authenticated"' in pasted


def test_the_counts(pasted: str) -> None:
    assert 'usher_tokens_issued_total{alg="ES256"}' in pasted
