"""`usher db check` on real databases: every mistake is found, and its fix mends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.postgres import installer
from sidecar.postgres.audit import ROLES as APPLICATION
from sidecar.postgres.audit import Finding, Severity, audit, checks
from tests.postgres.mistakes import MISTAKES, ROLES, ROLES_GONE, Mistake
from tests.postgres.scoped import as_role, connected, database_of, make_login
from tests.servers import Servers
from tests.session_jwt import extension


async def prepare(dsn: str) -> None:
    async with connected(dsn) as admin:
        await installer.install(admin)
        await installer.add_key(admin)


@pytest.fixture(scope="module")
def audited(postgres_servers: Servers) -> Iterator[str]:
    """A database with Usher's SQL side, for all tests of this module."""
    with postgres_servers.database() as dsn:
        asyncio.run(prepare(dsn))
        yield dsn


@pytest.fixture
async def owner(audited: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection to it, and the roles that mistakes are made with."""
    async with connected(audited) as admin:
        await admin.execute(ROLES)
        try:
            yield admin
        finally:
            await admin.execute(ROLES_GONE)


async def make(connection: asyncpg.Connection, mistake: Mistake, db: str) -> bool:
    """Makes the mistake; False where the server has not what it takes."""
    if connection.get_server_version().major < mistake.since:
        return False
    try:
        await connection.execute(mistake.sql.format(db=db) if "{db}" in mistake.sql else mistake.sql)
    except asyncpg.FeatureNotSupportedError:  # an extension that is not there
        return False
    return True


async def mend(connection: asyncpg.Connection, mistake: Mistake, db: str, finding: Finding) -> None:
    if mistake.undo == "reinstall":
        assert "usher db install" in finding.fix
        await connection.execute(installer.printable(None))
        return
    if finding.fix.startswith("--"):
        assert mistake.undo, "a person must decide"
    else:
        await connection.execute(finding.fix)
    if mistake.undo:
        await connection.execute(mistake.undo.format(db=db))


def only(findings: list[Finding], mistake: Mistake, db: str) -> list[Finding]:
    return [one for one in findings if (one.name, one.object) == (mistake.name, mistake.object.format(db=db))]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
async def test_a_mistake_is_found_and_its_fix_mends_it(
    owner: asyncpg.Connection, audited: str, mistake: Mistake
) -> None:
    db = database_of(audited)
    if not await make(owner, mistake, db):
        pytest.skip("this server has not what the mistake takes")
    found = only(await audit(owner), mistake, db)
    assert len(found) == 1
    await mend(owner, mistake, db, found[0])
    assert only(await audit(owner), mistake, db) == []


async def test_all_mistakes_at_once_on_every_version(fresh_database_each_version: str) -> None:
    db = database_of(fresh_database_each_version)
    await prepare(fresh_database_each_version)
    async with connected(fresh_database_each_version) as admin:
        await admin.execute(ROLES)
        try:
            # A superuser's membership, or one of a role with more power, hides what is beneath it.
            chosen = [one for one in MISTAKES if "SUPERUSER" not in one.sql and one.name != "role_extra"]
            made = [one for one in chosen if await make(admin, one, db)]
            found = await audit(admin)
            assert [str(one) for one in made if not only(found, one, db)] == []
            for one in made:
                for finding in only(found, one, db):
                    await mend(admin, one, db, finding)
            left = await audit(admin)
            assert [str(one) for one in made if only(left, one, db)] == []
        finally:
            await admin.execute(ROLES_GONE)


def test_every_check_has_a_mistake() -> None:
    elsewhere = {
        "not_installed",
        "role_missing",
        "login_missing",
        "prepared_transactions",
        "session_jwt_plain",
    }
    assert {check.name for check in checks()} == {mistake.name for mistake in MISTAKES} | elsewhere
    for check in checks():
        assert check.problem.endswith("."), check.name


async def test_a_database_set_up_by_the_installer_has_only_postgres_default(
    fresh_database_each_version: str,
) -> None:
    db = database_of(fresh_database_each_version)
    await prepare(fresh_database_each_version)
    async with connected(fresh_database_each_version) as admin:
        await installer.make_logins(admin, "usher_audited", 2)
        await admin.execute(installer.demo_script())
        # Logins belong to the whole server: other tests have theirs.
        found = [one for one in await audit(admin) if not one.object.startswith("usher_")]
        assert [one.name for one in found] == ["database_temp"] + ["schema_create"] * (
            admin.get_server_version().major < 15
        )
        ours = [one for one in await audit(admin) if one.object.startswith("usher_audited")]
        assert ours == []
        await admin.execute(f"REVOKE TEMPORARY ON DATABASE {db} FROM PUBLIC")
        assert [one for one in await audit(admin) if not one.object.startswith("usher_")] == []


async def test_a_database_with_the_extension_is_fit_without_a_key(extensible: str) -> None:
    async with connected(extensible) as admin:
        await extension.create(admin)
        await installer.install(admin)
        found = {one.name: one.severity for one in await audit(admin) if not one.object.startswith("usher_")}
        assert found == {"database_temp": Severity.WARNING, "session_jwt_plain": Severity.NOTICE}


async def test_a_database_without_usher_or_with_an_older_one_is_told_to_install(fresh_database: str) -> None:
    async with connected(fresh_database) as admin:
        for up_to in (None, 1):
            if up_to:
                await installer.install(admin, up_to=up_to)
            found = await audit(admin)
            assert [(one.name, one.fix) for one in found] == [("not_installed", "-- usher db install")]


async def test_roles_that_are_named_are_looked_at(owner: asyncpg.Connection) -> None:
    await owner.execute("GRANT audit_other TO audit_login")
    names = {one.name for one in await audit(owner, [*APPLICATION, "audit_other"]) if "audit" in one.object}
    assert names == set()
    found = await audit(owner, ["audit_nobody"])
    assert ("role_missing", "audit_nobody") in {(one.name, one.object) for one in found}


async def test_without_a_login_that_is_said(owner: asyncpg.Connection) -> None:
    await owner.execute("ALTER ROLE usher_login RENAME TO usher_login_aside; CREATE ROLE usher_login")
    try:
        assert "login_missing" in {one.name for one in await audit(owner)}
    finally:
        await owner.execute("DROP ROLE usher_login; ALTER ROLE usher_login_aside RENAME TO usher_login")
    assert "login_missing" not in {one.name for one in await audit(owner)}


def test_prepared_transactions_are_said(postgres_servers: Servers) -> None:
    async def found(dsn: str) -> set[str]:
        async with connected(dsn) as admin:
            await installer.install(admin)
            return {one.name for one in await audit(admin)}

    with postgres_servers.spare() as server:
        before = postgres_servers.run(found(server.superuser_dsn()))
        postgres_servers.execute(server.superuser_dsn(), "ALTER SYSTEM SET max_prepared_transactions = 3")
        postgres_servers.run(server.stop())
        postgres_servers.run(server.start())
        after = postgres_servers.run(found(server.superuser_dsn()))
        assert after - before == {"prepared_transactions"}


async def test_the_worst_comes_first(owner: asyncpg.Connection) -> None:
    await owner.execute("CREATE TABLE worst (x int); GRANT SELECT, TRUNCATE ON worst TO authenticated")
    severities = [list(Severity).index(one.severity) for one in await audit(owner)]
    assert severities == sorted(severities)
    assert len(set(severities)) > 1
    await owner.execute("DROP TABLE worst")


async def test_names_cannot_leave_their_comments(owner: asyncpg.Connection) -> None:
    """What is printed may be run: a name must not add to it."""
    await owner.execute(
        'CREATE TABLE "x\nDROP TABLE y; --" (x int); GRANT SELECT ON "x\nDROP TABLE y; --" TO authenticated;'
        'ALTER TABLE "x\nDROP TABLE y; --" ENABLE ROW LEVEL SECURITY'
    )
    found = [one for one in await audit(owner) if "DROP TABLE" in one.object]
    assert [one.name for one in found] == ["table_without_policy"]
    assert "\n" not in found[0].object
    assert all(line.startswith("--") for line in found[0].fix.splitlines())
    await owner.execute('DROP TABLE "x\nDROP TABLE y; --"')


async def test_who_may_not_read_the_keys_is_told_to_be_the_owner(audited: str) -> None:
    async with connected(audited) as admin:
        await make_login(admin, "usher_stranger")
        await admin.execute("GRANT SELECT ON usher.schema_version TO usher_stranger")
    async with connected(as_role(audited, "usher_stranger")) as stranger:
        with pytest.raises(UsherError, match="connect as the owner") as refused:
            await audit(stranger)
        assert refused.value.reason is Reason.INSUFFICIENT_PRIVILEGE


async def test_it_changes_nothing_and_leaves_nothing(owner: asyncpg.Connection) -> None:
    settings = "SELECT current_setting('search_path') || current_setting('request.jwt.claims', true)"
    await owner.execute("SET search_path = public; SET request.jwt.claims = '{}'")
    before = await owner.fetchval(settings)
    await audit(owner)
    assert await owner.fetchval(settings) == before
    assert not owner.is_in_transaction()


async def test_the_mistakes_that_the_attack_corpus_makes_use_of_are_found(
    fresh_database_each_version: str,
) -> None:
    await prepare(fresh_database_each_version)
    async with connected(fresh_database_each_version) as admin:
        await admin.execute((Path(__file__).parent.parent / "attacks" / "schema.sql").read_text())
        found = {(one.name, one.object) for one in await audit(admin) if "mistakes." in one.object}
    assert found == {
        ("function_backslash", "mistakes.is_branch(text)"),
        ("function_definer", "mistakes.run(text)"),
        ("function_immutable", "mistakes.tenant()"),
        ("function_names", "mistakes.is_member(text)"),
        ("function_search_path", "mistakes.run(text)"),
        ("relation_unprotected", "mistakes.copied"),
        ("table_rule", "forward ON mistakes.journal"),
        ("table_without_policy", "mistakes.parts"),
        ("table_without_rls", "mistakes.parts_globex"),
        ("table_without_rls", "mistakes.plain"),
        ("view_of_owner", "mistakes.all_notes"),
    }
