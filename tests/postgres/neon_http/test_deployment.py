"""What `usher doctor` says of Neon: for each check, what is good and what is not."""

from __future__ import annotations

import pytest

from sidecar.core.clock import Clock, SystemClock
from sidecar.core.diagnosis import Diagnosis
from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.neon_http import deployment
from sidecar.postgres.neon_http.exchange import Exchange, NeonSettings
from sidecar.postgres.neon_http.watch import Watch
from sidecar.web.sql_client import SqlClient
from tests.fakes import START, FakeClock
from tests.neon import standing as neon
from tests.neon.standing import Standing
from tests.postgres.scoped import Watcher, connected
from tests.web.published import answering, plain

SUBJECT = "usher-probe"


def no_signature(payload: object) -> str:
    raise UsherError(Reason.SIGNING_UNAVAILABLE, "nothing is signed here")


def settings_of(there: Standing) -> NeonSettings:
    return NeonSettings(target=there.target, acquire_timeout=20.0)


async def look(
    there: Standing,
    *,
    roles: tuple[str, ...] = ("authenticated",),
    clock: Clock | None = None,
    token: str = "",
) -> dict[str, Diagnosis]:
    """By a token alone, without the issuer's keys."""
    compact = token or neon.token(there, SUBJECT)
    scope = Scope(subject=SUBJECT, payload={"sub": SUBJECT}, token=compact)
    client = SqlClient(there.url, 1)
    settings = settings_of(there)
    exchange = Exchange(client.post, no_signature, settings, there.clock)
    watch = Watch(exchange, client.ping, lambda: scope, settings, there.clock, Watcher())
    try:
        found = await deployment.look(exchange, watch, scope, roles, clock or there.clock)
    finally:
        await client.close()
    assert compact not in str(found)
    return {one.check: one for one in found}


def worse(found: dict[str, Diagnosis]) -> dict[str, str]:
    return {check: one.verdict.value for check, one in found.items() if one.verdict.value != "ok"}


async def test_neon_refuses_what_has_no_kid_before_it_looks_for_a_key(there: Standing) -> None:
    client = SqlClient(there.url, 1)
    try:
        found = await deployment.reached(client.post, settings_of(there))
    finally:
        await client.close()
    assert (found.verdict.value, found.seen) == ("ok", "Neon answers POST /sql, and checks tokens")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"<html>", "what answers POST /sql (404)"),
        (400, b'{"message": "query is not supported"}', "what answers POST /sql (400)"),
        (400, b"[]", "what answers POST /sql (400)"),
        (200, b'{"rows": []}', "without a valid token"),
    ],
)
async def test_what_is_not_neon(there: Standing, status: int, body: bytes, said: str) -> None:
    handler, asked = answering(body, status)
    async with plain(handler) as place:
        client = SqlClient(place.url.geturl(), 1)
        try:
            found = await deployment.reached(client.post, settings_of(there))
        finally:
            await client.close()
    assert (found.verdict.value, said in found.seen) == ("failed", True)
    assert len(asked) == 1


async def test_nobody_there(there: Standing) -> None:
    client = SqlClient("http://127.0.0.1:1/sql", 1)
    try:
        found = await deployment.reached(client.post, settings_of(there))
    finally:
        await client.close()
    assert (found.verdict.value, found.seen) == ("failed", "Neon's host refuses the connection")


async def test_a_good_one(there: Standing) -> None:
    # The standing's time of day is that of a test; the database's is real.
    found = await look(there, clock=SystemClock())
    assert worse(found) == {}
    assert set(found) == {"neon_token", "database_safe", "roles", "database_clock"}


@pytest.mark.parametrize(("ahead", "verdict"), [(10, "warning"), (-40, "failed")])
async def test_the_clock(there: Standing, ahead: float, verdict: str) -> None:
    found = await look(there, clock=FakeClock(SystemClock().now() + ahead))
    assert worse(found) == {"database_clock": verdict}


async def test_a_token_that_neon_does_not_take(there: Standing) -> None:
    head, claims, signature = neon.token(there, SUBJECT).split(".")
    other = "B" if signature.startswith("A") else "A"
    found = await look(there, token=f"{head}.{claims}.{other}{signature[1:]}")
    assert worse(found)["neon_token"] == "failed"
    assert "Neon refuses the token's signature" in found["neon_token"].seen
    assert (
        worse(found)["database_safe"] == worse(found)["roles"] == worse(found)["database_clock"] == "warning"
    )


async def test_a_role_that_the_key_set_is_not_for(there: Standing) -> None:
    found = await look(there, roles=("authenticated", "neondb_owner"), clock=FakeClock(START))
    assert worse(found)["roles"] == "failed"
    assert found["roles"].seen.startswith("as neondb_owner: Neon knows no key for the token")


async def test_a_role_above_the_policies(own_neon_database: str) -> None:
    async with connected(own_neon_database) as admin:
        await admin.execute("ALTER ROLE anonymous BYPASSRLS")
        try:
            async with neon.standing(own_neon_database) as there:
                found = await look(there, roles=("anonymous", "authenticated"))
        finally:
            await admin.execute("ALTER ROLE anonymous NOBYPASSRLS")
    assert worse(found)["roles"] == "failed"
    assert found["roles"].seen == "anonymous is exempt from row-level security"


async def test_a_database_that_is_not_fit(own_neon_database: str) -> None:
    async with connected(own_neon_database) as admin:
        await admin.execute("DROP FUNCTION auth.user_id CASCADE")
        async with neon.standing(own_neon_database, ready=False) as there:
            found = await look(there)
    assert worse(found)["database_safe"] == "failed"
    assert "auth.user_id() cannot be called" in found["database_safe"].seen
    assert "neon_token" not in worse(found)
    assert "roles" not in worse(found)


def test_the_deny_list_is_each_sidecars_own() -> None:
    assert deployment.deny_list().verdict.value == "warning"
