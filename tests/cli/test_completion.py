"""`usher completion`, in the shells themselves where they are installed."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sidecar.cli.completion import commands
from sidecar.cli.main import parser
from tests.cli.conftest import Usher

LINES = {
    "usher to": {"token"},
    "usher token ": {"issue", "verify", "decode"},
    "usher token issue --cl": {"--claim"},
    "usher query --output ": {"table", "json", "csv"},
    "usher completion z": {"zsh"},
    "usher serve --reflection ": {"true", "false"},
    "usher policy check own": {"own.toml"},
    "usher query --sub alice --file own": {"own.toml"},
    "usher transaction --file own": {"own.toml"},
    "usher transaction --isolation se": {"serializable"},
}
"""What is typed, and what is among the answers."""
SECONDS = 30.0


@pytest.fixture
def folder(usher: Usher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, and the scripts."""
    for shell in ("bash", "zsh", "fish"):
        done = usher("completion", shell)
        assert done.code == 0
        (tmp_path / f"script.{shell}").write_text(done.out)
    (tmp_path / "own.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"`{name}` is not installed")
    return path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("line", "wanted"), LINES.items())
def test_bash(folder: Path, line: str, wanted: set[str]) -> None:
    words = line.split() + ([""] if line.endswith(" ") else [])
    # What readline sets before it calls the function; `compopt` is for readline alone.
    script = f"""
        compopt() {{ :; }}; source script.bash
        COMP_WORDS=({" ".join(word or "''" for word in words)}) COMP_CWORD={len(words) - 1}
        _usher; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = run(program("bash"), "--norc", "-c", script).split()
    assert set(found) >= wanted
    assert all(word.startswith(words[-1]) for word in found)


@pytest.mark.parametrize(("line", "wanted"), LINES.items())
def test_fish(folder: Path, line: str, wanted: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    found = run(program("fish"), "--no-config", "-c", f"source script.fish; complete -C '{line}'")
    assert {entry.split("\t")[0] for entry in found.splitlines()} >= wanted


RC = """
autoload -U compinit; compinit -u -D; source ./script.zsh
show() { print -r -- "$BUFFER" > shown; mv shown result; exit }
zle -N show; bindkey '^X' show
"""


@pytest.mark.parametrize("line", ["usher to", "usher token issue --cl", "usher policy check own"])
def test_zsh(folder: Path, line: str) -> None:
    """By key presses: only its line editor runs completions."""
    (folder / ".zshrc").write_text(RC)
    terminal, its_end = os.openpty()
    process = subprocess.Popen(
        [program("zsh"), "-d", "-i"],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        env={"HOME": str(folder), "TERM": "dumb"},
    )
    os.close(its_end)
    try:
        os.write(terminal, f"{line}\t\x18".encode())
        ends = time.monotonic() + SECONDS
        while not (folder / "result").exists() and time.monotonic() < ends:
            if select.select([terminal], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # it has left
                    os.read(terminal, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    (wanted,) = LINES[line]
    assert (folder / "result").read_text().strip() == f"{line.rpartition(' ')[0]} {wanted}"


def test_every_command_and_option_is_known() -> None:
    found = {command.path: command for command in commands(parser())}
    assert {"usher", "usher db key add", "usher token issue", "usher completion"} <= set(found)
    options = {option.name: option.takes for option in found["usher query"].options}
    assert (options["--sub"], options["--read-only"], options["--tls-ca"]) == ("text", "nothing", "file")
    assert "--grpc-address" in {option.name for option in found["usher serve"].options}


def test_no_help_text_ends_a_quotation(usher: Usher) -> None:
    for shell in ("bash", "zsh", "fish"):
        for line in usher("completion", shell).out.splitlines():
            assert line.count("'") % 2 == 0, line
