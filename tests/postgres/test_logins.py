"""Logins: one for each connection, and Postgres the judge of it."""

from __future__ import annotations

import re

import asyncpg
import pytest

from sidecar.core.errors import SettingsError
from sidecar.postgres import installer
from sidecar.postgres.logins import connector, logins_script, scram_verifier
from sidecar.postgres.scoped_backend import ClaimSettings
from tests.postgres.scoped import ALICE, Place, connected, query, rows, running_backend

PREFIX = "usher_many"
PASSWORD = "of-many"


def address(place: Place) -> str:
    return re.sub(r"//[^@]*@", f"//{PREFIX}:{PASSWORD}@", place.admin)


async def make(place: Place, count: int) -> None:
    async with connected(place.admin) as admin:
        await installer.make_logins(admin, PREFIX, count, password=PASSWORD)


async def test_each_connection_has_a_login_of_its_own(place: Place) -> None:
    await make(place, 3)
    connect = connector(address(place), 3)
    sessions = [await connect(address(place)) for _ in range(3)]
    try:
        names = {await session.fetchval("SELECT session_user") for session in sessions}
        assert names == {f"{PREFIX}_1", f"{PREFIX}_2", f"{PREFIX}_3"}
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await connect(address(place))
    finally:
        for session in sessions:
            await session.close()


async def test_a_backend_runs_on_them_and_a_password_may_be_replaced(place: Place) -> None:
    await make(place, 4)
    options = {"settings": ClaimSettings(), "logins": 4, "max_size": 2}
    async with running_backend(address(place), **options) as backend:
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        await make(place, 4)  # again: nothing is lost
        assert rows(await query(backend, ALICE, "select id from users")) == [("alice",)]
        seen = await backend.who_am_i(ALICE)
        assert re.fullmatch(rf"{PREFIX}_[1-4]", seen.login_role)


async def test_they_cannot_see_each_others_statements(place: Place) -> None:
    await make(place, 2)
    connect = connector(address(place), 2)
    one, other = await connect(address(place)), await connect(address(place))
    try:
        await one.execute("SELECT 'of one user'")
        texts = await other.fetchval("SELECT string_agg(query, '|') FROM pg_stat_activity")
        assert "of one user" not in texts
        pid = await one.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await other.execute(f"SELECT pg_terminate_backend({pid})")
    finally:
        await one.close()
        await other.close()


def test_no_password_is_in_the_script() -> None:
    script = logins_script("usher", 3, "hunter2")
    assert "hunter2" not in script
    assert script.count("CONNECTION LIMIT 1") == 3


def test_the_verifier_of_rfc_7677() -> None:
    """The stored and server keys of RFC 7677 section 3's example follow from its password and salt."""
    verifier = scram_verifier("pencil", b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81")
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert verifier.endswith(":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


@pytest.mark.parametrize(
    ("prefix", "count"), [("", 1), ("Usher", 1), ('a"b', 1), ("a", 0), ("a", 1001), ("a" * 57, 1)]
)
def test_what_cannot_name_logins_is_refused(prefix: str, count: int) -> None:
    with pytest.raises(SettingsError, match="logins"):
        logins_script(prefix, count, "x")
