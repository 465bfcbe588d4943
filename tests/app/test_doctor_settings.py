"""What is said of settings: for each check, what is good and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.app import doctor_settings
from sidecar.config import load
from sidecar.core.clock import SystemClock
from sidecar.core.diagnosis import Diagnosis

POLICY = """
[callers.anonymous]
methods = ["RunScopedQuery"]
subjects = ["*"]
sql = "free"
[callers.anonymous.roles]
default = "reader"
claim = "role"
map = { editor = "writer" }
"""


async def look(wrong: tuple[str, ...] = (), **settings: str) -> dict[str, list[Diagnosis]]:
    found: dict[str, list[Diagnosis]] = {}
    for one in await doctor_settings.look(load({}, settings, None), wrong, SystemClock()):
        found.setdefault(one.check, []).append(one)
    assert tuple(found) == doctor_settings.CHECKS
    return found


def verdicts(found: list[Diagnosis]) -> list[str]:
    return [one.verdict.value for one in found]


async def test_the_defaults_are_good() -> None:
    found = await look()
    assert [verdicts(each) for each in found.values()] == [["ok"]] * 4
    assert found["settings"][0].seen == "they can be served; 0 are not the default"


async def test_what_is_wrong_with_the_sources_is_told_line_by_line() -> None:
    found = await look(("there is no setting issure", "claim_key: give it"))
    assert verdicts(found["settings"]) == ["failed", "failed"]
    assert verdicts(found["safety"]) == ["ok"]


async def test_every_weakness_has_a_line_with_what_follows() -> None:
    found = await look(shared_login="true", admin_http_address="0.0.0.0:9090")
    assert verdicts(found["safety"]) == ["warning", "warning"]
    assert "shared_login: users may read and cancel" in found["safety"][0].seen


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "ok"),
        ({"rotation_lead_time": "3899"}, "warning"),
        ({"rotation_lead_time": "330"}, "warning"),
        ({"rotation_lead_time": "329", "unsafe_rotation_timing": "true"}, "failed"),
        ({"max_token_ttl": "3601"}, "warning"),
    ],
)
async def test_the_lead_time(settings: dict[str, str], verdict: str) -> None:
    found = (await look(**settings))["lead_time"]
    assert verdicts(found) == [verdict]
    assert bool(found[0].remedy) is (verdict != "ok")


async def test_files_that_are_read_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    good = {"policy_file": str(tmp_path / "policy.toml"), "statements_dir": str(tmp_path)}
    found = await look(**good)
    assert [(one.verdict.value, one.seen) for one in found["files"]] == [
        ("ok", "statements_dir, policy_file can be read")
    ]
    (tmp_path / "policy.toml").write_text("[callers.UPPER]\n[callers.ALSO]\n")
    (tmp_path / "wrong.sql").write_text("SELECT 1")
    (tmp_path / "no.pem").write_text("no certificate")
    (tmp_path / "no.key").write_text("canary")
    files = {"tls_cert_file": str(tmp_path / "no.pem"), "tls_key_file": str(tmp_path / "no.key")}
    found = await look(**good, **files)
    # Each of the three, whatever is wrong with the others.
    assert verdicts(found["files"]) == ["failed"] * 3
    assert "(and 1 more)" in found["files"][1].seen
    assert all("\n" not in one.seen for one in found["files"])
    assert "canary" not in str(found)


def test_roles_are_those_of_the_policy_and_the_usual_one(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    config = load({}, {"policy_file": str(file)}, None)
    assert doctor_settings.policy_roles(config) == ("authenticated", "reader", "writer")
    file.write_text("broken")
    assert doctor_settings.policy_roles(config) == ("authenticated",)
