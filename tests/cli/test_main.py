"""The root: commands, exit codes, and errors in words."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sidecar import __version__
from sidecar.cli import settings
from sidecar.cli.main import main
from sidecar.cli.remote import Failed
from sidecar.core.errors import Reason, SettingsError, UsherError
from tests.cli.conftest import Sidecar, Usher

COMMANDS = {
    "serve",
    "dev",
    "db",
    "token",
    "query",
    "whoami",
    "keys",
    "status",
    "health",
    "settings",
    "completion",
}


def test_every_command_has_help(usher: Usher) -> None:
    done = usher("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f"    {command}" in done.out
        helped = usher(command, "--help")
        assert helped.code == 0
        assert helped.out.startswith(f"usage: usher {command}")


def test_the_version(usher: Usher) -> None:
    assert usher("--version").out == f"usher {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("nothing",), ("token",), ("keys", "burn"), ("token", "verify")])
def test_wrong_usage_is_exit_code_2(usher: Usher, arguments: tuple[str, ...]) -> None:
    done = usher(*arguments)
    assert done.code == 2
    assert "usage: usher" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("serve", "--max-rowz", "5"),
            "usher serve: error: there is no option --max-rowz; did you mean --max-rows?",
        ),
        (("settings", "--grpc-adress=x"), "there is no option --grpc-adress; did you mean --grpc-address?"),
        (("token", "issue", "--sub", "a", "--clam", "x=y"), "did you mean --claim?"),
        (("token", "issue", "--sub", "a", "--zzz"), "; `usher token issue --help` lists them"),
        (("--versoin", "health"), "did you mean --version?"),
    ],
)
def test_a_misspelt_option_is_refused_with_a_suggestion(
    usher: Usher, arguments: tuple[str, ...], expected: str
) -> None:
    done = usher(*arguments)
    assert done.code == 2
    assert expected in done.err


@pytest.mark.parametrize(
    "arguments", [("serve", "--max-row", "5"), ("token", "issue", "--sub", "a", "--au", "x")]
)
def test_options_cannot_be_shortened(usher: Usher, arguments: tuple[str, ...]) -> None:
    """What is unambiguous today need not be tomorrow, and a misspelt name must not pass for a short one."""
    assert "there is no option" in usher(*arguments).err


@pytest.mark.parametrize(
    "form", ["--databse-url=postgresql://a:hunter2@b/c", "--databse-url postgresql://a:hunter2@b/c"]
)
def test_the_value_of_a_misspelt_option_is_not_repeated(usher: Usher, form: str) -> None:
    done = usher("serve", *form.split())
    assert (done.code, "hunter2" in done.err) == (2, False)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SettingsError("max_rows: too many"), 2, "usher: max_rows: too many\n"),
        (UsherError(Reason.KEY_UNKNOWN, "kid: none"), 1, "usher: KEY_UNKNOWN: kid: none\n"),
        (Failed("the token does not verify"), 1, "usher: the token does not verify\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_exit_codes(
    usher: Usher, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(chosen: Any) -> int:
        raise error

    monkeypatch.setattr(settings, "_settings", fail)
    done = usher("settings")
    assert (done.code, done.out, done.err) == (code, "", said)


def test_a_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(chosen: Any) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(settings, "_settings", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["settings"])


def test_an_argument_that_is_no_text(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("token", "issue", "--address", sidecar.address, "--sub", "a\udcff")
    assert (done.code, done.err) == (2, "usher: sub, audiences: they must be text\n")


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sidecar", "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.parametrize("arguments", [("settings",), ("token", "decode", "e30.e30.")])
def test_output_that_cannot_be_written_is_told(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "usher: the output cannot be written (No space left on device)\n"


def test_with_json_errors_are_json_on_standard_error(usher: Usher, sidecar: Sidecar) -> None:
    sidecar.parts.backend.failure = UsherError(
        Reason.UNIQUE_VIOLATION, "there is such a row", {"sqlstate": "23505", "constraint": "users_pkey"}
    )
    query = ("query", "--address", sidecar.address, "--sub", "a", "select 1")
    done = usher(*query, "--json")
    assert (done.code, done.out) == (1, "")
    error = json.loads(done.err)["error"]
    assert error.pop("request_id")
    assert error == {
        "message": "ALREADY_EXISTS UNIQUE_VIOLATION: there is such a row",
        "code": "ALREADY_EXISTS",
        "reason": "UNIQUE_VIOLATION",
        "sqlstate": "23505",
        "retryable": False,
    }
    assert usher(*query).err == f"usher: {error['message']}\n"
    wrong = usher("query", "--json", "--sub", "a", "--token", "b", "select 1")
    assert (wrong.code, "say as whom" in json.loads(wrong.err)["error"]["message"]) == (2, True)
    claim = usher("token", "issue", "--json", "--sub", "a", "--claim", "exp:=1")
    assert (claim.code, json.loads(claim.err)["error"]["reason"]) == (1, "CLAIM_RESERVED")
