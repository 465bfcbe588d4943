"""Transactions on connections of our own: attacks from one statement on the next, and what is outdated.

tests/backends/test_transactions.py has what holds on every backend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from sidecar.core.errors import Reason
from sidecar.core.transactions import Isolation
from sidecar.postgres.claim_key import CurrentKey
from sidecar.postgres.pool import Pool
from sidecar.postgres.sessions import Pooling
from sidecar.postgres.signed_claims import SignedClaimsBackend
from tests.postgres.scoped import (
    ALICE,
    CAROL,
    SHARED,
    Place,
    key_of,
    query,
    refused_transaction,
    rows,
    running_pool,
    statement,
    transact,
)
from tests.postgres.test_forgery import FORGERIES, KEEP, USE

LOOK = "select current_user::text, auth.user_id(), (select string_agg(id, ',') from users)"
OWN = [("authenticated", "alice", "alice")]


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("sql", FORGERIES.values(), ids=FORGERIES)
async def test_a_forgery_fails_in_a_transaction_as_it_does_alone(
    backend: SignedClaimsBackend, sql: str, numbered: bool
) -> None:
    if numbered:
        await query(backend, CAROL, "select 1")
    for before in ("select 1", "select set_config('role', 'none', true)"):
        refused = await refused_transaction(backend, ALICE, before, sql, LOOK)
        assert (refused.reason, refused.metadata["statement_index"]) == (Reason.CLAIMS_TAMPERED, "1")
        assert rows(await query(backend, CAROL, "select id from users")) == [("carol",)]


async def test_claims_and_tag_of_another_transaction_do_not_reach_the_next_statement(
    backend: SignedClaimsBackend,
) -> None:
    await query(backend, CAROL, "select 1")
    ((claims, tag),) = rows(await query(backend, CAROL, KEEP))
    plant = "select set_config('request.jwt.claims', $1, true), set_config('usher.claim_tag', $2, true)"
    planted = statement(plant, claims, tag)
    _, seen = await transact(backend, ALICE, planted, LOOK)
    assert rows(seen) == OWN
    refused = await refused_transaction(backend, ALICE, LOOK, statement(USE.format(""), claims, tag))
    assert refused.reason is Reason.CLAIMS_TAMPERED


async def test_a_statement_keeps_its_own_claims_for_the_next_one_at_most(
    backend: SignedClaimsBackend,
) -> None:
    """Its tag is good in its own transaction, and says who it was anyway."""
    await query(backend, ALICE, "select 1")
    kept, *_ = await transact(backend, ALICE, KEEP, "select 1")
    ((claims, tag),) = rows(kept)
    refused = await refused_transaction(backend, CAROL, "select 1", statement(USE.format(""), claims, tag))
    assert refused.reason is Reason.CLAIMS_TAMPERED


async def test_who_moves_the_number_ends_the_transaction(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    for _ in range(2):
        await query(backend, ALICE, "select 1")  # from here on the session has one
        refused = await refused_transaction(
            backend,
            ALICE,
            "insert into notes values (1, null, 'x')",
            "select usher.next_challenge()",
            "select 1",
        )
        assert (refused.reason, refused.metadata["statement_index"]) == (Reason.CLAIMS_TAMPERED, "2")
        assert await admin.fetchval("SELECT count(*) FROM notes") == 0
        assert rows(await query(backend, CAROL, "select id from users")) == [("carol",)]


@pytest.mark.parametrize("setting", ["0", "1h"])
async def test_no_statement_gives_a_later_one_more_time(backend: SignedClaimsBackend, setting: str) -> None:
    stretch = statement(f"select set_config('statement_timeout', '{setting}', false)", timeout=0.3)
    shown = statement("select current_setting('statement_timeout')", timeout=0.3)
    for _ in range(2):
        _, seen = await transact(backend, ALICE, stretch, shown)
        assert rows(seen) == [("300ms",)]
        refused = await refused_transaction(
            backend, ALICE, stretch, statement("select pg_sleep(60)", timeout=0.3)
        )
        assert refused.reason is Reason.STATEMENT_TIMEOUT


async def test_a_role_of_the_policys_is_the_role_of_every_statement(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE ROLE other_of_test; GRANT other_of_test TO usher_test_login")
    try:
        for role in ("none", "other_of_test"):
            take = f"select set_config('role', '{role}', false)"
            _, seen = await transact(backend, ALICE, take, LOOK)
            assert rows(seen) == OWN
    finally:
        await admin.execute("DROP ROLE other_of_test")


async def test_the_same_text_under_two_search_paths_comes_to_an_end(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    """What is known of a text is the text's under one search path."""
    await admin.execute(
        "CREATE SCHEMA aside; GRANT USAGE ON SCHEMA aside TO authenticated;"
        "CREATE TABLE aside.notes (n numeric); GRANT SELECT ON aside.notes TO authenticated;"
        "INSERT INTO aside.notes VALUES (1.5)"
    )
    try:
        turn = "select set_config('search_path', 'aside', true)"
        for _ in range(3):
            first, _, second = await transact(backend, ALICE, "table notes", turn, "table notes")
            assert (len(first.columns), rows(second)) == (3, [("1.5",)])
        assert len((await query(backend, ALICE, "table notes")).columns) == 3
    finally:
        await admin.execute("DROP SCHEMA aside CASCADE")


async def test_a_schema_that_changed_means_the_whole_transaction_anew(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE TABLE changing (n int); GRANT SELECT, INSERT ON changing TO authenticated")
    try:
        asked = (
            statement("insert into notes values (1, null, 'x')"),
            "table changing",
            "insert into changing values (7)",
        )
        for change in ("SELECT 1", "SELECT 1", "ALTER TABLE changing ALTER n TYPE text"):
            await admin.execute(change)
            await admin.execute("DELETE FROM notes; DELETE FROM changing")
            _, table, _ = await transact(backend, ALICE, *asked)
            assert rows(table) == []
            assert await admin.fetchval("SELECT count(*) FROM notes") == 1
            assert await admin.fetchval("SELECT count(*) FROM changing") == 1
        assert table.columns[0].type_name == "text"
    finally:
        await admin.execute("DROP TABLE changing; DELETE FROM notes")


async def test_a_read_that_is_cut_after_a_write_runs_to_its_end(
    backend: SignedClaimsBackend, admin: asyncpg.Connection
) -> None:
    """It may write by a function, and of a transaction that has written before nobody can tell."""
    await admin.execute("CREATE SEQUENCE asked; GRANT USAGE ON asked TO authenticated")
    try:
        cut = statement("select nextval('asked') from generate_series(1, 50)", max_rows=2)
        results = await transact(backend, ALICE, cut, "insert into notes values (1, null, 'x')", cut)
        for index in (0, 2):
            assert (results[index].row_count, results[index].command_tag) == (2, "SELECT 2")
        assert await admin.fetchval("SELECT last_value FROM asked") == 100
    finally:
        await admin.execute("DROP SEQUENCE asked; DELETE FROM notes")


async def test_a_role_that_is_gone_is_no_statements_fault(backend: SignedClaimsBackend) -> None:
    lost = replace(ALICE, role="nosuchrole")
    refused = await refused_transaction(backend, lost, "select 1", "select 2")
    assert (refused.reason, refused.metadata) == (Reason.DATABASE_NOT_INSTALLED, {})


@pytest.mark.parametrize("local", ["true", "false"])
async def test_texts_are_never_read_in_another_encoding(backend: SignedClaimsBackend, local: str) -> None:
    for value in ("\u00c3\u00bc", "\u00fc"):
        turn = f"select set_config('client_encoding', 'LATIN1', {local})"
        refused = await refused_transaction(backend, ALICE, turn, statement("select $1", value))
        assert (refused.reason, refused.metadata["statement_index"]) == (Reason.STATEMENT_INVALID, "1")
        back = "select set_config('client_encoding', 'UTF8', true) from (select 1) as t"
        turned = f"select set_config('client_encoding', 'LATIN1', {local}), ({back})"
        *_, seen = await transact(backend, ALICE, turned, statement("select $1", value))
        assert rows(seen) == [(value,)]


@pytest.fixture
async def pooled(place: Place) -> AsyncIterator[SignedClaimsBackend]:
    """As behind a pooler in transaction mode, which the head of each transaction cleans up after."""
    async with running_pool(place.login, max_size=1, pooling=Pooling.TRANSACTION) as pool:
        yield SignedClaimsBackend(pool, SHARED, CurrentKey(key_of(place.admin)), Pooling.TRANSACTION)


@pytest.mark.parametrize("isolation", [None, *Isolation])
@pytest.mark.parametrize("read_only", [True, False])
async def test_by_way_of_a_pooler(
    pooled: SignedClaimsBackend, isolation: Isolation | None, read_only: bool
) -> None:
    level = statement("select current_setting('transaction_isolation')", read_only=read_only)
    for _ in range(2):
        first, seen = await transact(
            pooled, ALICE, level, statement(LOOK, read_only=read_only), isolation=isolation
        )
        assert rows(first) == [(isolation.value.lower() if isolation else "read committed",)]
        assert rows(seen) == OWN
        tampered = statement("select set_config('request.jwt.claims', '', false)", read_only=read_only)
        _, seen = await transact(pooled, ALICE, tampered, statement(LOOK, read_only=read_only))
        assert rows(seen) == OWN
    assert rows(await query(pooled, CAROL, "select id from users")) == [("carol",)]


async def test_the_connection_is_free_when_it_has_failed(backend: SignedClaimsBackend, pool: Pool) -> None:
    for number in range(5):
        await refused_transaction(backend, ALICE, *["select 1"] * number, "select 1 / 0")
    assert rows(await query(backend, CAROL, "select id from users")) == [("carol",)]
    assert pool.state.size == 1


@pytest.mark.parametrize("value", ["repeat('1', 600000)", "ARRAY[{}]", "ARRAY[{}::bit varying]"])
async def test_the_results_share_the_room_for_one(place: Place, pool: Pool, value: str) -> None:
    small = replace(SHARED, max_result_bytes=1_000_000)
    backend = SignedClaimsBackend(pool, small, CurrentKey(key_of(place.admin)))
    one = "SELECT " + value.format("repeat('1', 600000)")
    await transact(backend, ALICE, one, "SELECT 1 WHERE false", "SELECT 2")
    refused = await refused_transaction(backend, ALICE, one, one)
    assert refused.reason is Reason.RESULT_TOO_LARGE
    assert "together" in refused.message
