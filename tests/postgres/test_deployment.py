"""What `usher doctor` says of a database: for each check, what is good and what is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from sidecar.core.clock import Clock, SystemClock
from sidecar.core.deny_list import By
from sidecar.core.diagnosis import Diagnosis
from sidecar.core.revocations import Addition
from sidecar.postgres import deployment
from sidecar.postgres.claim_key import ClaimKey, CurrentKey
from sidecar.postgres.deployment import Deployment
from sidecar.postgres.pool import Connect, PoolSettings
from sidecar.postgres.revocation_store import PostgresRevocations
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.session_keys import with_session_key
from tests.fakes import FakeClock
from tests.postgres.scoped import UNKNOWN_KEY, connected
from tests.servers import COUNT, LOGINS, PASSWORD, Servers
from tests.session_jwt import extension

CLOCK = SystemClock()


@pytest.fixture
def place(postgres_servers: Servers, fresh_database: str) -> Deployment:
    """A database as `usher db install --logins` leaves it, with the demo."""
    return deployment_of(fresh_database, postgres_servers.install_demo(fresh_database))


def deployment_of(dsn: str, demo: dict[str, str]) -> Deployment:
    return Deployment(
        pool=PoolSettings(database_url=demo["database_url"], logins=COUNT),
        claims=ClaimSettings(),
        key=ClaimKey.parse(demo["claim_key"]),
        roles=("authenticated",),
        wrap_connect=partial(with_session_key, database_url=demo["database_url"], role="authenticated"),
    )


async def look(place: Deployment, clock: Clock = CLOCK) -> dict[str, list[Diagnosis]]:
    found = await deployment.look(place, clock)
    assert [one.check for one in found] == sorted((one.check for one in found), key=deployment.CHECKS.index)
    assert {one.check for one in found} == set(deployment.CHECKS)
    assert PASSWORD not in str(found)
    by_check: dict[str, list[Diagnosis]] = {}
    for one in found:
        by_check.setdefault(one.check, []).append(one)
    return by_check


def worse(found: dict[str, list[Diagnosis]]) -> dict[str, str]:
    """Every check that is not ok, with its first verdict."""
    return {check: each[0].verdict.value for check, each in found.items() if each[0].verdict.value != "ok"}


def said(found: dict[str, list[Diagnosis]], check: str) -> str:
    return "\n".join(f"{one.seen} -> {one.remedy}" for one in found[check])


async def test_a_good_one(place: Deployment) -> None:
    found = await look(place)
    assert worse(found) == {}
    assert "it can be read (0 entries), and changes are heard at once" in said(found, "deny_list")


async def test_no_server(place: Deployment) -> None:
    url = re.sub(r":\d+/", ":1/", place.pool.database_url)
    found = await look(replace(place, pool=replace(place.pool, database_url=url)))
    assert worse(found) == {
        "database": "failed",
        "database_safe": "warning",
        "claim_key": "warning",
        "roles": "warning",
        "deny_list": "failed",
        "database_clock": "warning",
    }
    assert "refuses the connection" in said(found, "database")


async def test_a_wrong_password(place: Deployment) -> None:
    url = place.pool.database_url.replace(PASSWORD, "canary")
    found = await look(replace(place, pool=replace(place.pool, database_url=url)))
    assert "refuses the login" in said(found, "database")
    assert "canary" not in str(found)


async def test_every_login_in_use(place: Deployment, fresh_database: str) -> None:
    url = place.pool.database_url.replace(LOGINS, f"{LOGINS}_1")
    async with connected(url):
        found = await look(replace(place, pool=replace(place.pool, logins=1)))
    assert worse(found)["database"] == worse(found)["deny_list"] == "warning"
    assert "every login has its session" in said(found, "database")


async def test_a_key_that_the_database_does_not_know_hides_nothing_else(place: Deployment) -> None:
    found = await look(replace(place, key=UNKNOWN_KEY))
    assert worse(found) == {"database_safe": "warning", "claim_key": "failed", "deny_list": "failed"}
    assert "does not know claim_key" in said(found, "claim_key")
    assert str(UNKNOWN_KEY.secret.hex()) not in str(found)
    missing = await look(replace(place, key=None))
    assert worse(missing) == {"database_safe": "warning", "claim_key": "failed", "deny_list": "warning"}


async def test_a_database_without_usher(place: Deployment) -> None:
    server = place.pool.database_url.rpartition("/")[0]
    found = await look(replace(place, pool=replace(place.pool, database_url=f"{server}/template1")))
    assert worse(found) == {"database_safe": "failed", "claim_key": "failed", "deny_list": "failed"}
    # All that is wrong, not only the first of it.
    assert len(found["database_safe"]) >= 2
    assert "usher db install" in said(found, "database_safe")


@pytest.mark.parametrize(
    ("spoil", "mend", "check", "words"),
    [
        ("GRANT CREATE ON SCHEMA public TO authenticated", "SELECT", "database_safe", "may create tables"),
        (
            "CREATE OR REPLACE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE AS"
            " $$SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb$$",
            "SELECT",
            "database_safe",
            "believes forged claims",
        ),
        (
            "ALTER ROLE authenticated BYPASSRLS",
            "ALTER ROLE authenticated NOBYPASSRLS",
            "roles",
            "has BYPASSRLS",
        ),
    ],
    ids=["tables", "forgery", "a role above the policies"],
)
async def test_what_makes_it_unsafe(
    place: Deployment, fresh_database: str, spoil: str, mend: str, check: str, words: str
) -> None:
    async with connected(fresh_database) as connection:
        await connection.execute(spoil)
        try:
            found = await look(place)
        finally:
            await connection.execute(mend)
    assert worse(found)[check] == worse(found)["database_safe"] == "failed"
    assert words in said(found, check)
    assert "claim_key" not in worse(found)


async def test_roles_of_a_policy(place: Deployment, fresh_database: str) -> None:
    async with connected(fresh_database) as connection:
        await connection.execute("CREATE ROLE doctor_apart")
        try:
            found = await look(replace(place, roles=("authenticated", "doctor_apart", "doctor_nobody")))
        finally:
            await connection.execute("DROP ROLE doctor_apart")
    assert worse(found) == {"roles": "failed"}
    assert [one.seen for one in found["roles"]] == [
        "the login may not become the role doctor_apart",
        "the role doctor_nobody does not exist",
    ]


@pytest.mark.parametrize(("accepted", "verdict"), [(False, "failed"), (True, "warning")])
async def test_a_privileged_login(
    place: Deployment, fresh_database: str, accepted: bool, verdict: str
) -> None:
    claims = ClaimSettings(allow_privileged_login=accepted, shared_login=True)
    pool = replace(place.pool, database_url=fresh_database, logins=0)
    found = await look(replace(place, pool=pool, claims=claims))
    assert worse(found)["roles"] == verdict
    assert ("database_safe" in worse(found)) is not accepted


@pytest.mark.parametrize(("ahead", "verdict"), [(3, None), (-10, "warning"), (40, "failed")])
async def test_the_clock(place: Deployment, ahead: float, verdict: str | None) -> None:
    found = await look(place, FakeClock(CLOCK.now() + ahead))
    assert worse(found).get("database_clock") == verdict


async def test_revocations_are_counted(place: Deployment) -> None:
    assert place.key is not None
    store = PostgresRevocations(place.pool, CurrentKey(place.key), CLOCK)
    await store.add(Addition(by=By.SUB, value="canary", issued_until=None, seconds=60))
    await store.close()
    found = await look(place)
    assert "1 entries" in said(found, "deny_list")
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("identity", "key", "expected"),
    [
        (Identity.AUTO, True, {}),
        (Identity.SESSION_JWT, False, {"deny_list": "warning"}),
        (Identity.SIGNED_CLAIMS, True, {"database_safe": "failed"}),
    ],
)
def test_with_pg_session_jwt(
    postgres_servers: Servers, identity: Identity, key: bool, expected: dict[str, str]
) -> None:
    with extension.database(postgres_servers) as dsn:
        postgres_servers.run(extension.create_at(dsn))
        there = deployment_of(dsn, postgres_servers.install_demo(dsn))
        postgres_servers.execute(dsn, "GRANT USAGE ON SCHEMA auth TO authenticated")
        plain: Callable[[Connect], Connect] = lambda connect: connect  # noqa: E731
        chosen = replace(
            there,
            claims=ClaimSettings(identity=identity),
            key=there.key if key else None,
            wrap_connect=plain if identity is Identity.SIGNED_CLAIMS else there.wrap_connect,
        )
        found = asyncio.run(look(chosen))
        assert worse(found) == expected
        if identity is Identity.SESSION_JWT:
            assert "not needed" in said(found, "claim_key")


def test_a_session_that_the_extension_refuses_is_looked_at_without_it(postgres_servers: Servers) -> None:
    with extension.database(postgres_servers) as dsn:
        postgres_servers.run(extension.create_at(dsn))
        there = deployment_of(dsn, postgres_servers.install_demo(dsn))
        postgres_servers.execute(dsn, "REVOKE USAGE ON SCHEMA auth FROM authenticated, PUBLIC")
        found = asyncio.run(look(there))
    assert worse(found)["database_safe"] == "failed"
    assert "may not use the schema auth" in said(found, "database_safe")
    assert "roles" not in worse(found)
    assert "database_clock" not in worse(found)
