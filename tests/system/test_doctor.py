"""`usher doctor` on a real deployment: process, PostgreSQL, and a server with TLS in front of the keys."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests import certificates
from tests.neon import standing as neon
from tests.processes import Process, running, usher
from tests.servers import PASSWORD, Servers
from tests.system.test_neon_http import Trusting, double
from tests.web.published import CA, PATH, published

PUBLIC = "https://localhost"
OTHERS = ("login_shared", "role_extra", "statement_logging", "database_temp")
LONG = certificates.server(CA, ends=datetime.timedelta(days=90))


@pytest.fixture(scope="module")
def deployment(postgres_servers: Servers) -> Iterator[tuple[Process, dict[str, str], str]]:
    """A sidecar, the settings of its database, and the administrator's address of that."""
    with postgres_servers.database() as dsn:
        demo = postgres_servers.install_demo(dsn)
        with running("serve", **demo, issuer=PUBLIC) as process:
            yield process.wait_for("ready"), demo, dsn


async def examined(
    process: Process, folder: Path, *arguments: str, path: str = PATH, **settings: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, list[dict[str, str]]]]:
    """What the command says while a server with TLS passes one path on to the sidecar."""

    async def pass_on(request: web.BaseRequest) -> web.Response:
        if request.path != path:
            return web.Response(status=404)
        async with ClientSession() as session, session.get(process.jwks_url) as answer:
            headers = {name: answer.headers[name] for name in ("Cache-Control", "Content-Type")}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    async with published(pass_on, folder, certified=LONG) as place:
        assert place.connect_to is not None
        done = await asyncio.to_thread(
            usher,
            "doctor",
            "--json",
            *("--ca-file", str(place.ca_file)),
            *("--connect-to", ":".join(map(str, place.connect_to))),
            *("--address", process.grpc_address),
            *arguments,
            **settings,
        )
    assert done.stderr == ""
    checks: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout)["checks"]:
        checks.setdefault(one["check"], []).append(one)
    return done, checks


def worse(checks: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {name: each[0]["verdict"] for name, each in checks.items() if each[0]["verdict"] != "ok"}


def settings_of(process: Process, demo: dict[str, str]) -> dict[str, str]:
    return {
        **demo,
        "issuer": PUBLIC,
        "http_address": process.addresses["http"],
        "admin_http_address": process.addresses["admin_http"],
    }


async def test_a_deployment_that_is_well(
    deployment: tuple[Process, dict[str, str], str], tmp_path: Path
) -> None:
    process, demo, dsn = deployment
    accepted = [text for name in OTHERS for text in ("--accept", name)]
    done, checks = await examined(
        process, tmp_path, "--admin-database-url", dsn, *accepted, **settings_of(process, demo)
    )
    # By --connect-to nobody looks the name up.
    assert (done.returncode, worse(checks)) == (0, {"key_store": "warning", "jwks_address": "warning"})
    assert PASSWORD not in done.stdout
    assert demo["claim_key"].partition(":")[2] not in done.stdout


async def test_a_path_that_is_not_passed_on_hides_nothing_else(
    deployment: tuple[Process, dict[str, str], str], tmp_path: Path
) -> None:
    process, demo, _ = deployment
    done, checks = await examined(process, tmp_path, path="/keys", **settings_of(process, demo))
    assert done.returncode == 1
    assert worse(checks) == {
        "key_store": "warning",  # keys in memory
        "audit": "warning",
        "jwks_address": "warning",
        "jwks_answer": "failed",
        "jwks_query": "failed",
        "jwks_keys": "warning",
        "jwks_cache": "warning",
        "jwks_current": "warning",
    }
    done, checks = await examined(
        process, tmp_path, "--jwks-url", f"{PUBLIC}/keys", path="/keys", **settings_of(process, demo)
    )
    assert (done.returncode, checks["jwks_current"][0]["verdict"]) == (0, "ok")


async def test_another_sidecars_keys_at_the_public_url(
    deployment: tuple[Process, dict[str, str], str], tmp_path: Path
) -> None:
    process, demo, _ = deployment
    with running("serve", **demo, issuer=PUBLIC) as other:
        other.wait_for("ready")
        settings = settings_of(other, demo) | {"grpc_address": other.grpc_address}
        done, checks = await examined(process, tmp_path, "--address", other.grpc_address, **settings)
    assert (done.returncode, checks["jwks_current"][0]["verdict"]) == (1, "failed")


async def test_a_sidecar_that_is_not_ready_is_told_with_the_reason(
    deployment: tuple[Process, dict[str, str], str], tmp_path: Path
) -> None:
    _, demo, _ = deployment
    wrong = demo | {"claim_key": "k9:" + "0b" * 32}
    with running("serve", **wrong, issuer=PUBLIC) as unfit:
        unfit.wait_for_event(lambda event: "does not know claim_key" in str(event))
        done, checks = await examined(unfit, tmp_path, **settings_of(unfit, wrong))
    assert done.returncode == 1
    assert "database: the database does not know claim_key" in checks["sidecar"][0]["seen"]
    assert worse(checks)["claim_key"] == worse(checks)["deny_list"] == "failed"
    assert "jwks_current" not in worse(checks)
    assert "0b0b" not in done.stdout


@pytest.fixture
def neon_settings(postgres_servers: Servers) -> Iterator[tuple[dict[str, str], Trusting]]:
    """The settings of a sidecar on the double of Neon, and the project that is to trust its keys."""
    trusting = Trusting()
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn))
        with double(dsn, trusting) as url:
            settings = {
                "database_backend": "neon-http",
                "database_url": f"postgresql://authenticated@{neon.HOST}/{dsn.rpartition('/')[2]}",
                "neon_sql_url": url,
                "shared_login": "true",
                "issuer": PUBLIC,
            }
            yield settings, trusting


async def test_neon_by_the_token_of_the_sidecar(
    neon_settings: tuple[dict[str, str], Trusting], tmp_path: Path
) -> None:
    settings, trusting = neon_settings
    with running("serve", **settings) as process:
        process.wait_for("started")
        done, checks = await examined(process, tmp_path, **settings_of(process, settings))
        assert done.returncode == 1
        # Nobody has registered the key set with Neon yet.
        assert worse(checks) | {"sidecar": "failed", "neon_token": "failed"} == worse(checks)
        assert "database" not in worse(checks)
        trusting.jwks_url = process.jwks_url
        process.wait_for("ready")
        done, checks = await examined(process, tmp_path, **settings_of(process, settings))
    assert worse(checks) == {
        "safety": "warning",
        "deny_list": "warning",
        "key_store": "warning",  # keys in memory
        "audit": "warning",
        "jwks_address": "warning",
        "jwks_certificate": "warning",
    }
    assert done.returncode == 0
    assert "claim_key" not in checks
