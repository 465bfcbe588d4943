"""`usher db check`: what is printed, and that it may be run."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Usher
from tests.servers import Servers

OPEN = "CREATE TABLE open (x int); GRANT SELECT, TRUNCATE ON open TO authenticated"


@pytest.fixture
def database(postgres_servers: Servers, fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with the demo, which the command finds by itself."""
    postgres_servers.install_demo(fresh_database)
    monkeypatch.setenv("USHER_ADMIN_DATABASE_URL", fresh_database)
    return fresh_database


# Logins belong to the whole server: other tests have theirs.
OTHERS = ("--accept", "login_shared", "--accept", "role_extra", "--accept", "statement_logging")


def test_the_output_mends_what_it_shows(usher: Usher, database: str, postgres_servers: Servers) -> None:
    postgres_servers.execute(database, OPEN)
    found = usher("db", "check", *OTHERS)
    assert (found.code, found.err) == (1, "")
    assert "-- error table_without_rls: public.open\n" in found.out
    assert "\nALTER TABLE public.open ENABLE ROW LEVEL SECURITY;\n" in found.out
    postgres_servers.execute(database, found.out)
    again = usher("db", "check", *OTHERS, "--accept", "table_without_policy:public.open")
    assert (again.code, "checks: 0 errors, 0 warnings, 0 notices; " in again.out) == (0, True)


def test_a_finding_may_be_accepted_on_one_object_or_on_all(
    usher: Usher, database: str, postgres_servers: Servers
) -> None:
    postgres_servers.execute(database, f"{OPEN}; {OPEN.replace('open', 'other')}")
    one = usher("db", "check", "--accept", "table_without_rls:public.open")
    assert "table_without_rls: public.open" not in one.out
    assert "table_without_rls: public.other" in one.out
    assert "1 accepted" in one.out
    every = usher("db", "check", "--accept", "table_without_rls", *OTHERS)
    assert "table_without_rls" not in every.out
    assert "table_privilege" in every.out


def test_notices_alone_are_no_failure(usher: Usher, database: str, postgres_servers: Servers) -> None:
    postgres_servers.execute(database, "ALTER POLICY users_read ON users USING (auth.user_id() = id)")
    done = usher("db", "check", *OTHERS, "--accept", "database_temp")
    assert "-- notice policy_per_row: users_read ON public.users" in done.out
    assert "1 notice;" in done.out
    assert done.code == 0


def test_roles_may_be_named(usher: Usher, database: str) -> None:
    done = usher("db", "check", "--role", "no_such_role")
    assert "-- error role_missing: no_such_role" in done.out


def test_what_cannot_be_accepted_is_said_before_anything_is_asked(usher: Usher) -> None:
    done = usher("db", "check", "--accept", "table_without_rsl", "--database-url", "postgresql://h:1/d")
    assert (done.code, done.out) == (2, "")
    assert "did you mean table_without_rls?" in done.err


def test_a_database_without_usher_fails(usher: Usher, fresh_database: str) -> None:
    done = usher("db", "check", "--database-url", fresh_database)
    assert (done.code, "-- error not_installed: usher" in done.out) == (1, True)
