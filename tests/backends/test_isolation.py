"""Nothing passes from one user to another: by what a statement does, or by what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Blame, Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.core.queries import Backend
from tests.backends.kinds import Stage
from tests.postgres.scoped import ALICE, CANARY, CAROL, PATIENCE, query, refusal, rows

CAROLS = json.dumps(dict(CAROL.payload))
SETTINGS = ("request.jwt.claims", "pg_session_jwt.jwt", "pg_session_jwt.jwk", "usher.claim_tag")
"""Where identity may come from, whichever kind it is."""
FORGED = {
    "the claims": ("request.jwt.claims", CAROLS),
    "no claims": ("request.jwt.claims", ""),
    "no tag": ("usher.claim_tag", ""),
    "a tag": ("usher.claim_tag", "k.00"),
    "a token": ("pg_session_jwt.jwt", "e30.eyJqdGkiOjk5LCJzdWIiOiJjYXJvbCJ9." + "A" * 86),
    "no token": ("pg_session_jwt.jwt", ""),
    "a default token": ("pg_session_jwt.jwt", None),
    "a key": ("pg_session_jwt.jwk", '{"kty":"OKP","crv":"Ed25519","x":"' + "A" * 43 + '"}'),
    "no key": ("pg_session_jwt.jwk", ""),
    "a default key": ("pg_session_jwt.jwk", None),
}
LOOK = "select id, auth.user_id(), auth.session() ->> 'sub' from users"
OWN = ("alice", "alice", "alice")


async def attempt(backend: Backend, who: Scope, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement that may well fail, but not by a fault of ours."""
    try:
        return rows(await query(backend, who, sql, *values))
    except UsherError as error:
        assert error.blame is not Blame.SERVICE, error  # noqa: PT017
        return []


@pytest.mark.parametrize("local", [True, False], ids=["in the transaction", "in the session"])
@pytest.mark.parametrize(("setting", "value"), FORGED.values(), ids=FORGED)
async def test_a_statement_cannot_become_another_user(
    backend: Backend, stage: Stage, setting: str, value: str | None, local: bool
) -> None:
    forging = f"set_config('{setting}', $1, {local})"
    for sql in (
        f"with f as materialized (select {forging} as done) select found.* from f"
        f" cross join lateral ({LOOK} where f.done is not null or $1 is null) as found",
        f"select u.* from ({LOOK}) as u where {forging} is not null",
    ):
        found = await attempt(backend, ALICE, sql, value)
        assert all(_alices(row, stage) for row in found), "it shows what is not alice's"
        if setting == "request.jwt.claims" and stage.kind.forgery_is_refused:
            assert found == []
        assert rows(await query(backend, CAROL, LOOK)) == [("carol", "carol", "carol")]
        assert rows(await query(backend, ALICE, LOOK)) == [OWN]


def _alices(row: tuple[Any, ...], stage: Stage) -> bool:
    """Whether LOOK may tell this to alice: her own row, under her own name, or none where one can be lost."""
    names = {"alice"} if stage.kind.forgery_is_refused else {"alice", None}
    return row[0] == "alice" and {*row[1:]} <= names


async def test_what_made_one_user_believed_is_worth_nothing_to_another(
    backend: Backend, stage: Stage
) -> None:
    """Even on the same session: carol gives away all that she can read of her own identity."""
    reading = ", ".join(f"current_setting('{name}', true)" for name in SETTINGS)
    (hers,) = rows(await query(backend, CAROL, f"select {reading}"))
    taking = " and ".join(
        f"coalesce(set_config('{name}', ${number}, true), '') is not null"
        for number, name in enumerate(SETTINGS, 1)
    )
    replay = f"with f as materialized (select {taking} as done) select u.* from f, ({LOOK}) as u where f.done"
    assert all(_alices(row, stage) for row in await attempt(backend, ALICE, replay, *hers))
    for number, name in enumerate(SETTINGS):
        if hers[number]:
            one = f"select u.* from ({LOOK}) as u where set_config('{name}', $1, true) is not null"
            assert all(_alices(row, stage) for row in await attempt(backend, ALICE, one, hers[number]))
    assert rows(await query(backend, ALICE, LOOK)) == [OWN]


async def test_an_error_in_a_transaction_leaves_the_next_user_whole(backend: Backend) -> None:
    for _ in range(3):
        await refusal(backend, ALICE, "select 1 / 0 from users")
        assert rows(await query(backend, CAROL, LOOK)) == [("carol", "carol", "carol")]


LEFT_BEHIND = {
    "a setting": "select set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)",
    "the search path": "select set_config('search_path', 'elsewhere', false)",
    "the style of dates": "select set_config('DateStyle', 'German', false)",
    "a role": "select set_config('role', 'none', false)",
    "row security": "select set_config('row_security', 'off', false)",
    "a timeout": "select set_config('statement_timeout', '1ms', false)",
    "read-only": "select set_config('default_transaction_read_only', 'on', false)",
    "a temporary table": "select 'mallory' as id into temp users",
    "an advisory lock": "select pg_advisory_lock(4711)",
    "a sequence's last value": "select nextval('pool_numbers')",
}
SEEN = """
select current_user::text, current_setting('search_path'), current_setting('DateStyle'),
       (select string_agg(id, ',') from users),
       (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
       current_setting('default_transaction_read_only')
"""


@pytest.mark.parametrize("left", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_nothing_of_one_user_stays_for_the_next(backend: Backend, left: str) -> None:
    clean = rows(await query(backend, CAROL, SEEN))
    await attempt(backend, ALICE, left)
    assert rows(await query(backend, CAROL, SEEN)) == clean
    assert clean[0][3] == "carol"
    assert (await refusal(backend, CAROL, "select lastval()")).reason is Reason.STATEMENT_INVALID


async def test_two_tenants_on_three_connections_never_meet(stage: Stage) -> None:
    """200 queries of two tenants at once; some try to leave something behind for the other."""
    attempts = [
        *LEFT_BEHIND.values(),
        """select set_config('request.jwt.claims', '{"sub":"carol"}', false), id from users""",
        "select set_config('pg_session_jwt.jwt', null, false), id from users",
        "select id from users where 1 / length(id) > 0",
        "select 1 / 0 from users",
    ]
    chance = random.Random(2)
    async with stage.open(connections=3) as backend:

        async def look(who: Scope, left: str) -> None:
            tenant = who.payload["tenant_id"]
            found = await query(backend, who, "select tenant_id, id, auth.user_id() from users")
            assert rows(found) == [(tenant, who.subject, who.subject)]
            await attempt(backend, who, left)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(
                *(look(chance.choice((ALICE, CAROL)), chance.choice(attempts)) for _ in range(100))
            )


async def test_the_text_of_one_user_is_not_there_for_the_next(backend: Backend) -> None:
    texts = "select coalesce(string_agg(statement, ';'), '') from pg_prepared_statements"
    await query(backend, ALICE, f"select '{CANARY}'")
    assert CANARY not in rows(await query(backend, CAROL, texts))[0][0]
    # An error that somebody still holds holds the statement, too.
    error = await refusal(backend, ALICE, f"select length('{CANARY}') / 0")
    assert CANARY not in rows(await query(backend, CAROL, texts))[0][0]
    assert error.reason is Reason.DATA_EXCEPTION


async def test_a_function_that_is_wrongly_immutable_keeps_nothing_of_the_one_before(
    backend: Backend, admin: asyncpg.Connection
) -> None:
    """Its plan would hold the first user's identity as a constant."""
    await admin.execute(
        "CREATE FUNCTION me() RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN RETURN (SELECT auth.user_id()); END$$"
    )
    try:
        for who in (CAROL, ALICE, CAROL):
            assert rows(await query(backend, who, "select me() from users")) == [(who.subject,)]
    finally:
        await admin.execute("DROP FUNCTION me")
