"""The guide docs/neon.md as far as it can be followed without Neon: its SQL, then a direct connection."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import USHER, Process, environment, running, usher
from tests.servers import Servers
from tests.session_jwt import extension

PREFIX = "usher_guide"
"""Not the default one: logins belong to the server."""
GUIDE = (Path(__file__).parents[2] / "docs/neon.md").read_text()


def section(title: str) -> str:
    return GUIDE.partition(f"\n{title}\n")[2].partition("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def followed(postgres_servers: Servers) -> Iterator[tuple[Process, dict[str, str]]]:
    with extension.database(postgres_servers) as dsn:
        postgres_servers.run(extension.create_at(dsn))
        here_document = blocks("sh", section("### 2. The extension and the role"))[0]
        # The stand-in is made already, in the place of the extension.
        sql = here_document.partition("<<'SQL'\n")[2].partition("\nSQL\n")[0].partition("\n")[2]
        postgres_servers.execute(dsn, sql)
        postgres_servers.execute(dsn, blocks("sql", section("### 5. A table with a policy"))[0])
        install = blocks("sh", section("## A direct connection"))[0].partition("\n. ./usher.env")[0]
        command = install.replace("usher db", f"{USHER} db").replace(
            "--logins 24", f"--logins 24 --reset-password --login-prefix {PREFIX}"
        )
        command = command.partition(" > usher.env")[0]
        printed = subprocess.run(
            ["sh", "-c", command],
            env=environment() | {"OWNER_URL": dsn},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        settings = {
            name.lower(): value.strip("'") for name, value in re.findall(r"export USHER_(\w+)=(.*)", printed)
        }
        assert set(settings) == {"database_url", "database_logins", "claim_key"}
        settings["database_backend"] = "pg_session_jwt"
        try:
            with running("serve", **settings) as process:
                yield process.wait_for("ready"), settings
        finally:
            # Roles belong to the server: for other tests this one must not log in.
            postgres_servers.execute(dsn, "ALTER ROLE authenticated NOLOGIN")


def test_alice_has_a_row_that_bob_does_not_see(followed: tuple[Process, dict[str, str]]) -> None:
    process, _ = followed
    lines = blocks("sh", section("## A direct connection"))[1].splitlines()
    found = []
    for line in lines:
        user, sql = re.findall(r'--sub (\w+) +"(.*)"', line)[0]
        done = usher("query", "--address", process.grpc_address, "--json", "--sub", user, sql)
        assert done.returncode == 0, done.stderr
        found.append("alice" in done.stdout)
    assert found == [True, False]


def test_the_doctor_finds_the_database_well(followed: tuple[Process, dict[str, str]]) -> None:
    process, settings = followed
    done = usher("doctor", "--json", "--address", process.grpc_address, **settings)
    verdicts = {one["check"]: one["verdict"] for one in json.loads(done.stdout)["checks"]}
    own = ("sidecar", "database", "database_safe", "claim_key", "roles", "deny_list", "database_clock")
    assert {verdicts[name] for name in own} == {"ok"}
    assert done.returncode == 0, done.stdout
