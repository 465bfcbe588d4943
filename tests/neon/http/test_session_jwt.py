"""The whole way with pg_session_jwt, or what stands in for it, in the place where Neon has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.errors import UsherError
from sidecar.core.events import DatabaseStateChanged
from tests.neon import standing as neon
from tests.neon.local_proxy import SessionJwtIdentity
from tests.neon.standing import Standing
from tests.neon.wire import Session
from tests.postgres.scoped import ALICE, CAROL, query, rows
from tests.servers import Servers

FORGED = '{"sub":"carol","tenant_id":"globex"}'


@pytest.fixture(scope="module")
def dsn(postgres_servers: Servers) -> Iterator[str]:
    with neon.database(postgres_servers) as dsn:
        asyncio.run(neon.set_up(dsn, session_jwt=True))
        yield dsn


@pytest.fixture
async def there(dsn: str) -> AsyncIterator[Standing]:
    async with neon.standing(dsn, identity=SessionJwtIdentity(), clock=SystemClock()) as there:
        yield there


async def test_each_sees_their_own_on_one_session(there: Standing) -> None:
    for who in (ALICE, CAROL, ALICE):
        assert rows(await query(there.backend, who, "select id, auth.user_id() from users")) == [
            (who.subject, who.subject)
        ]
    seen = await there.backend.who_am_i(CAROL)
    told = json.loads(seen.session or "")
    assert isinstance(told.pop("jti"), int)
    # The extension reads the server's clock, so that here the time is the real one.
    assert abs(told.pop("exp") - SystemClock().now() - 60) < 60
    assert told == CAROL.payload


async def test_no_sql_makes_another_user(there: Standing) -> None:
    for setting in ("request.jwt.claims", "pg_session_jwt.jwt", "pg_session_jwt.jwk"):
        for local in ("true", "false"):
            sql = (
                f"select found.id from (select set_config('{setting}', $1, {local}) as s) as f"
                " cross join lateral (select id from users where f.s is not null) as found"
            )
            try:
                found = rows(await query(there.backend, ALICE, sql, FORGED))
            except UsherError:
                found = []
            assert set(found) <= {("alice",)}
            assert rows(await query(there.backend, CAROL, "select id from users")) == [("carol",)]


class Keyless(SessionJwtIdentity):
    """A proxy that forgets the key: the extension then believes `request.jwt.claims`."""

    def options(self) -> str:
        """See Identity.options."""
        return ""

    async def begin(self, session: Session) -> None:
        """See Identity.begin."""

    async def enter(self, session: Session, claims: object) -> None:
        """See Identity.enter."""
        await session.query(
            "SELECT set_config('request.jwt.claims', $1, false)",
            [json.dumps(claims)],
            lambda fields: None,
            lambda row: None,
        )


async def test_an_extension_without_a_key_is_found_out(dsn: str) -> None:
    async with neon.standing(dsn, identity=Keyless(), clock=SystemClock(), ready=False) as there:
        await there.observed.until(lambda: bool(there.observed.of(DatabaseStateChanged)))
        assert "believes what any SQL may set" in (there.watch.trouble or "")
