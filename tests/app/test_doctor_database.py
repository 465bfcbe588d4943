"""The database as the settings name it, and what `usher db check` finds there."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.app import doctor_database
from sidecar.app.doctor_database import AuditAsked
from sidecar.config import Config, load
from sidecar.core.clock import SystemClock
from sidecar.core.diagnosis import Diagnosis
from tests.servers import PASSWORD, Servers

OTHERS = ("login_shared", "role_extra", "statement_logging", "database_temp")
"""Logins belong to the whole server: other tests have theirs."""
OPEN = "CREATE TABLE open (x int); GRANT SELECT, TRUNCATE ON open TO authenticated"
NEON = {
    "database_backend": "neon-http",
    "database_url": "postgresql://authenticated@ep-x.neon.invalid/app",
    "shared_login": "true",
}


def audited(config: Config, **asked: object) -> list[Diagnosis]:
    return asyncio.run(doctor_database.audited(config, AuditAsked(**asked)))  # type: ignore[arg-type]


def told(found: list[Diagnosis]) -> list[tuple[str, str]]:
    assert {one.check for one in found} == {"audit"}
    return [(one.verdict.value, one.seen) for one in found]


def test_tables_are_looked_at_by_an_administrator_alone(demo: dict[str, str]) -> None:
    ((verdict, seen),) = told(audited(load({}, demo, None)))
    assert (verdict, "not looked at" in seen) == ("warning", True)


def test_what_the_audit_finds(demo: dict[str, str], postgres_servers: Servers, fresh_database: str) -> None:
    settings = postgres_servers.install_demo(fresh_database)
    config = load({}, settings, None)
    ((verdict, seen),) = told(audited(config, database_url=fresh_database, accepted=OTHERS))
    assert (verdict, "found nothing to mend" in seen) == ("ok", True)
    postgres_servers.execute(fresh_database, OPEN)
    found = audited(config, database_url=fresh_database, accepted=OTHERS)
    assert told(found)[0] == ("failed", "1 errors: table_without_rls (public.open)")
    accepted = (*OTHERS, "table_without_rls:public.open")
    assert told(audited(config, database_url=fresh_database, accepted=accepted))[0][0] == "warning"
    missing = audited(config, database_url=fresh_database, accepted=OTHERS, roles=("no_such_role",))
    assert "role_missing (no_such_role)" in told(missing)[0][1]


def test_an_administrator_who_is_not_let_in(
    demo: dict[str, str], postgres_servers: Servers, fresh_database: str
) -> None:
    wrong = "postgresql://nobody_knows:s3cret@" + fresh_database.rpartition("@")[2]
    ((verdict, seen),) = told(audited(load({}, demo, None), database_url=wrong))
    assert verdict == "failed"
    assert "s3cret" not in seen
    ((verdict, seen),) = told(audited(load({}, demo, None), database_url="mysql://s3cret"))
    assert (verdict, "s3cret" in seen) == ("failed", False)
    postgres_servers.install_demo(fresh_database)
    ((verdict, _),) = told(
        audited(
            load({}, demo, None), database_url=demo["database_url"].replace("usher_test:", "usher_test_1:")
        )
    )
    assert verdict == "failed"


def test_neon_http_needs_no_sql_side(fresh_database: str) -> None:
    ((verdict, seen),) = told(audited(load({}, NEON, None), database_url=fresh_database))
    assert (verdict, "neon-http does not need it" in seen) == ("warning", True)
    ((verdict, seen),) = told(audited(load({}, {}, None), database_url=fresh_database))
    assert (verdict, "not_installed" in seen) == ("failed", True)


@pytest.mark.parametrize("published", [True, False])
async def test_neon_without_a_token(published: bool) -> None:
    found = await doctor_database.look(load({}, NEON, None), SystemClock(), None, published=published)
    assert {one.check: one.verdict.value for one in found} == {
        "database": "failed",  # a name that nobody knows
        "deny_list": "warning",
        "neon_token": "warning",
        "database_safe": "warning",
        "roles": "warning",
        "database_clock": "warning",
    }


async def test_a_url_that_is_none_of_neons() -> None:
    config = Config(database_backend="neon-http", database_url="postgresql://a:s3cret@127.0.0.1/x")
    found = await doctor_database.look(config, SystemClock(), None, published=True)
    assert found[0].verdict.value == "failed"
    assert "s3cret" not in str(found)


async def test_a_database_by_the_sidecars_own_login(demo: dict[str, str]) -> None:
    found = await doctor_database.look(load({}, demo, None), SystemClock(), None, published=True)
    assert {one.check for one in found} == set(doctor_database.OWN_CHECKS) - {"neon_token"}
    assert [one for one in found if one.verdict.value != "ok"] == []
    assert PASSWORD not in str(found)
    broken = Config(database_url=demo["database_url"], database_logins=24, claim_key="wrong")
    found = await doctor_database.look(broken, SystemClock(), None, published=True)
    assert {one.check: one.verdict.value for one in found}["claim_key"] == "failed"


async def test_no_database_at_all() -> None:
    found = await doctor_database.look(Config(), SystemClock(), None, published=True)
    assert [one.verdict.value for one in found] == ["failed"] + ["warning"] * 5
