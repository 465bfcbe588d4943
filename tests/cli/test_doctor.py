"""`usher doctor`: what is printed, what is refused as wrong use, and what a running sidecar is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.cli import doctor as module
from sidecar.core.diagnosis import failed, ok
from tests.cli.conftest import Sidecar, Usher

NOWHERE = ("--database-url", "postgresql://a:s3cret@127.0.0.1:1/x", "--claim-key", "k1:" + "0b" * 32)


def verdicts(out: str) -> dict[str, str]:
    return {line.split()[1]: line.split()[0] for line in out.splitlines()[:-1]}


def test_a_line_a_check_and_their_number(usher: Usher) -> None:
    done = usher("doctor", *NOWHERE, "--address", "127.0.0.1:1")
    assert (done.code, done.err) == (1, "")
    assert verdicts(done.out) | {"settings": "ok", "sidecar": "warning", "database": "failed"} == verdicts(
        done.out
    )
    assert done.out.splitlines()[-1].endswith(" failed")
    assert "s3cret" not in done.out
    assert "0b0b" not in done.out


def test_the_same_as_json(usher: Usher) -> None:
    done = usher("doctor", *NOWHERE, "--address", "127.0.0.1:1", "--json")
    found = json.loads(done.out)
    assert done.code == 1
    assert set(found) == {"checks", "ok", "warning", "failed"}
    assert found["ok"] + found["warning"] + found["failed"] == len(found["checks"])
    assert all(set(check) == {"check", "verdict", "seen", "remedy"} for check in found["checks"])
    assert {check["verdict"] for check in found["checks"]} <= {"ok", "warning", "failed"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "database_url: name your database"),
        (("--database-url", "postgresql://h/d"), "claim_key: give what"),
        ((*NOWHERE, "--token-ttl", "s"), "option --token-ttl"),
        ((*NOWHERE, "--config", "/nonexistent.toml"), "/nonexistent.toml: cannot be read"),
    ],
)
def test_wrong_settings_are_a_check_that_failed(usher: Usher, arguments: tuple[str, ...], said: str) -> None:
    done = usher("doctor", *arguments, "--address", "127.0.0.1:1")
    assert (done.code, verdicts(done.out)["settings"]) == (1, "failed")
    assert said in done.out.splitlines()[0]
    assert verdicts(done.out)["lead_time"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jwks-url", "ftp://s3cret"), "--jwks-url: give an https:// URL"),
        (("--ca-file", "/nonexistent.pem"), "--ca-file: /nonexistent.pem cannot be read"),
        (("--connect-to", "nowhere"), "--connect-to: give HOST:PORT"),
        (("--connect-to", "h:99999"), "--connect-to: give HOST:PORT"),
        (("--connect-to", "h:\u0661"), "--connect-to: give HOST:PORT"),
        (("--accept", "table_without_rsl"), "did you mean table_without_rls?"),
        (("--tls-cert", "x"), "--tls-cert and --tls-key: give both"),
        (("--jsn",), "there is no option --jsn"),
    ],
)
def test_wrong_use(usher: Usher, arguments: tuple[str, ...], said: str) -> None:
    done = usher("doctor", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "s3cret" not in done.err


def test_an_authority_that_is_no_certificate(usher: Usher, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    done = usher("doctor", "--ca-file", str(tmp_path / "ca.pem"))
    assert (done.code, "--ca-file" in done.err) == (2, True)


def test_a_running_sidecar_is_asked(usher: Usher, sidecar: Sidecar) -> None:
    done = usher("doctor", *NOWHERE, "--address", sidecar.address)
    assert verdicts(done.out)["sidecar"] == "ok"
    # By the settings alone, as serve has them.
    done = usher("doctor", *NOWHERE, "--grpc-address", sidecar.address.replace("127.0.0.1", "0.0.0.0"),
                 "--allow-anonymous")  # fmt: skip
    assert verdicts(done.out)["sidecar"] == "ok"
    done = usher("doctor", *NOWHERE, "--grpc-address", "127.0.0.1:0", "--issuer", "https://nowhere.invalid")
    assert verdicts(done.out)["sidecar"] == "warning"


def test_a_line_stays_a_line() -> None:
    assert module.line(failed("a", "b\nc\x1b", "d")) == "failed   a                 b?c? -> d"
    assert module.line(ok("a", "b")) == "ok       a                 b"
