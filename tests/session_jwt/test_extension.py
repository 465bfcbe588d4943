"""What pg_session_jwt does, as the backend relies on it: the stand-in's behaviour, or the real one's.

The first part asserts what the extension's own tests do, the second what they leave open.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sidecar.postgres.errors import DRIVER_ERRORS
from tests.postgres.scoped import as_role
from tests.servers import VERSIONS, Servers
from tests.session_jwt import extension
from tests.session_jwt.extension import REAL, TestKey, base64url

USER = "session_jwt_user"
UUID = "10fdd1a2-52a5-4b0c-8b0a-0123456789ab"
NOW = int(time.time())
STATES = {"42804", "23514", "02000", "2F003"}


@pytest.fixture(
    scope="module", params=(VERSIONS[-1],) if REAL else VERSIONS, ids=lambda version: f"pg{version}"
)
def dsn(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[str]:
    """The address, for a user who may do no more than use the schema, of a database with the extension."""
    with extension.database(postgres_servers, request.param) as admin:
        postgres_servers.run(extension.create_at(admin))
        postgres_servers.execute(
            admin,
            f"DO $$ BEGIN CREATE ROLE {USER} LOGIN PASSWORD '{USER}'; EXCEPTION WHEN duplicate_object THEN"
            f" NULL; END $$; GRANT USAGE ON SCHEMA auth TO {USER}; CREATE TABLE touched (n int)",
        )
        yield as_role(admin, USER)
        postgres_servers.execute(admin, f"DROP OWNED BY {USER}; DROP ROLE {USER}")


@pytest.fixture
def key() -> TestKey:
    return TestKey()


@pytest.fixture
async def session(dsn: str, key: TestKey) -> AsyncIterator[asyncpg.Connection]:
    """A session with the key, ready for tokens."""
    async with opened(dsn, key.options()) as connection:
        await connection.execute("SELECT auth.init()")
        yield connection


@pytest.fixture
async def keyless(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A session without a key."""
    async with opened(dsn, {}) as connection:
        yield connection


@asynccontextmanager
async def opened(dsn: str, settings: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def take(session: asyncpg.Connection, token: str) -> None:
    """Makes the session the token's user's."""
    await session.execute(_taking(token))


def _taking(token: str) -> str:
    return f"SELECT auth.jwt_session_init('{token}')"


async def refusal(session: asyncpg.Connection, sql: str) -> tuple[str, str]:
    """The SQLSTATE and text of what is refused."""
    with pytest.raises(DRIVER_ERRORS) as refused:
        await session.execute(sql)
    assert refused.value.sqlstate in STATES
    return refused.value.sqlstate, refused.value.args[0]


async def claims(session: asyncpg.Connection, payload: dict[str, Any]) -> None:
    """Sets plain claims, as anybody may."""
    await session.fetchval("SELECT set_config('request.jwt.claims', $1, false)", json.dumps(payload))


async def told(session: asyncpg.Connection, function: str) -> Any:
    return await session.fetchval(f"SELECT auth.{function}()::text")


# -- What the extension's own tests assert.


async def test_ids_must_rise(session: asyncpg.Connection, key: TestKey) -> None:
    await take(session, key.token({"sub": "foo", "jti": 2}))
    state, text = await refusal(session, _taking(key.token({"sub": "bar", "jti": 1})))
    assert (state, text) == ("23514", "Token ID must be strictly monotonically increasing.")


def _from_now(times: dict[str, int]) -> dict[str, int]:
    """Now is when a test runs, not when it was collected."""
    now = int(time.time())
    return {name: now + offset for name, offset in times.items()}


@pytest.mark.parametrize(
    ("times", "complaint"),
    [
        ({"nbf": 600}, "Token used before it is ready"),
        ({"exp": -65}, "Token used after it has expired"),
    ],
)
async def test_times_that_have_not_come_or_are_gone(
    session: asyncpg.Connection, key: TestKey, times: dict[str, int], complaint: str
) -> None:
    state, text = await refusal(session, _taking(key.token({"jti": 1} | _from_now(times))))
    assert state == "23514"
    assert text.startswith(complaint)


async def test_times_that_fit_and_their_leeway(session: asyncpg.Connection, key: TestKey) -> None:
    for jti, times in enumerate(({"nbf": -10, "exp": 600}, {"nbf": -10}, {"exp": 600}, {"nbf": 50}), 1):
        await take(session, key.token({"jti": jti} | _from_now(times)))
    await take(session, key.token({"jti": 9} | _from_now({"exp": -50})))


async def test_the_user_is_the_tokens(session: asyncpg.Connection, key: TestKey) -> None:
    assert await told(session, "user_id") is None
    for jti, sub in enumerate(("foo", "bar"), 1):
        await take(session, key.token({"sub": sub, "jti": jti}))
        assert await told(session, "user_id") == sub


async def test_a_token_is_checked_when_it_is_needed(dsn: str, key: TestKey) -> None:
    async with opened(dsn, key.options()) as session:  # without auth.init()
        await session.execute(f"SET pg_session_jwt.jwt = '{key.token({'sub': 'foo', 'jti': 1})}'")
        assert await told(session, "user_id") == "foo"


async def test_plain_claims_count_for_nothing_beside_a_key(session: asyncpg.Connection, key: TestKey) -> None:
    await claims(session, {"sub": "mallory"})
    assert (await told(session, "user_id"), await told(session, "session")) == (None, "null")
    await take(session, key.token({"sub": "foo", "role": "r", "jti": 1}))
    assert await told(session, "user_id") == "foo"
    for function in ("session", "jwt"):
        assert json.loads(await told(session, function)) == {"sub": "foo", "role": "r", "jti": 1}


async def test_plain_claims_are_believed_without_a_key(keyless: asyncpg.Connection) -> None:
    for function in ("user_id", "uid", "organization", "organization_id"):
        assert await told(keyless, function) is None
    await claims(keyless, {"sub": UUID, "role": "r"})
    assert (await told(keyless, "user_id"), await told(keyless, "uid")) == (UUID, UUID)
    for function in ("session", "jwt"):
        assert json.loads(await told(keyless, function)) == {"sub": UUID, "role": "r"}


async def test_nobody_is_json_null_and_that_is_not_sql_null(keyless: asyncpg.Connection) -> None:
    for function in ("session", "jwt"):
        assert await told(keyless, function) == "null"
        assert await keyless.fetchval(f"SELECT auth.{function}() IS NULL") is False


ORGANIZATIONS = [
    ({}, None, None),
    ({"o": {"id": UUID, "name": "n"}}, {"id": UUID, "name": "n"}, UUID),
    ({"o": "text"}, None, None),
    ({"o": {"name": "n"}}, {"name": "n"}, None),
    ({"o": {"id": "no-uuid"}}, {"id": "no-uuid"}, None),
]


async def test_organizations(session: asyncpg.Connection, keyless: asyncpg.Connection, key: TestKey) -> None:
    assert (await told(session, "organization"), await told(session, "organization_id")) == (None, None)
    for jti, (payload, organization, identity) in enumerate(ORGANIZATIONS, 1):
        await take(session, key.token({"sub": "x", "jti": jti} | payload))
        await claims(keyless, {"sub": "x"} | payload)
        for one in (session, keyless):
            found = await told(one, "organization")
            assert (json.loads(found) if found else None) == organization
            assert await told(one, "organization_id") == identity


# -- What they leave open.


async def test_init_needs_a_key_and_one_that_fits(
    dsn: str, keyless: asyncpg.Connection, key: TestKey
) -> None:
    missing = "Missing runtime parameter: pg_session_jwt.jwk"
    assert await refusal(keyless, "SELECT auth.init()") == ("02000", missing)
    assert await refusal(keyless, _taking(key.token({"jti": 1}))) == ("02000", missing)
    with pytest.raises(asyncpg.exceptions.PostgresWarning):  # not a PostgresError
        await keyless.execute("SELECT auth.init()")
    for other in ({"kty": "EC"}, {"crv": "X25519"}, {"x": base64url(bytes(31))}, {"x": "="}, {"x": 5}):
        async with opened(dsn, key.options(**other)) as session:
            assert (await refusal(session, "SELECT auth.init()"))[0] == "42804"


async def test_a_key_cannot_be_given_later_or_replaced(
    session: asyncpg.Connection, keyless: asyncpg.Connection, key: TestKey
) -> None:
    other = TestKey()
    await take(session, key.token({"sub": "foo", "jti": 1}))
    for one in (session, keyless):
        for statement in (
            f"SELECT set_config('pg_session_jwt.jwk', '{other.jwk()}', false)",
            "SELECT set_config('pg_session_jwt.jwk', '', false)",
            "RESET ALL",
            f"SET pg_session_jwt.jwk = '{other.jwk()}'",
        ):
            try:
                await one.execute(statement)
            except asyncpg.PostgresError as error:
                assert error.sqlstate == "55P02"  # noqa: PT017
    assert (await refusal(keyless, "SELECT auth.init()"))[0] == "02000"
    assert (await refusal(session, _taking(other.token({"sub": "bar", "jti": 2}))))[0] == "23514"
    await take(session, key.token({"sub": "bar", "jti": 3}))
    assert await told(session, "user_id") == "bar"


async def test_signatures_are_checked(session: asyncpg.Connection, key: TestKey) -> None:
    good = key.token({"sub": "foo", "jti": 1})
    head, body, signature = good.split(".")
    other = base64url(b'{"sub":"bar","jti":1}')
    for wrong in (
        TestKey().token({"sub": "foo", "jti": 1}),
        f"{head}.{other}.{signature}",
        f"{head}.{body}.{base64url(bytes(64))}",
        f"e30.{body}.{signature}",
    ):
        assert await refusal(session, _taking(wrong)) == ("23514", "invalid JWT signature")
    for wrong in (f"{head}.{body}.", f"{head}.{body}.{signature[:-2]}", f"{good}=", f"{good}A"):
        assert await refusal(session, _taking(wrong)) == ("42804", "invalid JWT signature encoding")
    for wrong in ("x", f"{head}{signature}", f"{body}.{signature}"):
        assert (await refusal(session, _taking(wrong)))[0] == "42804"
    await take(session, good)


async def test_what_a_payload_must_be(session: asyncpg.Connection, key: TestKey) -> None:
    for payload in (
        {"sub": "x"}, {"jti": "1"}, {"jti": 1.5}, {"jti": None}, {"jti": True}, {"jti": 2**63},
        {"jti": 1, "exp": "x"}, {"jti": 1, "exp": NOW + 0.5}, {"jti": 1, "nbf": [NOW]},
        b"[1]", b"null", b"{", b"\xff",
    ):  # fmt: skip
        assert (await refusal(session, _taking(key.token(payload))))[0] == "42804", payload
    for payload in ({"jti": 0}, {"jti": -1}):
        assert (await refusal(session, _taking(key.token(payload))))[0] == "23514"
    await take(session, key.token({"jti": 1, "sub": 7}))
    assert await refusal(session, "SELECT auth.user_id()") == ("42804", "invalid subject claim in the JWT")


async def test_ids_are_not_forgotten(session: asyncpg.Connection, key: TestKey) -> None:
    """Neither by a rollback nor by RESET ALL or DISCARD ALL; gaps are fine."""
    await session.execute("BEGIN")
    await take(session, key.token({"sub": "foo", "jti": 5}))
    await session.execute("ROLLBACK")
    await session.execute("RESET ALL")
    await session.execute("DISCARD ALL")
    assert (await refusal(session, _taking(key.token({"sub": "bar", "jti": 5}))))[0] == "23514"
    await take(session, key.token({"sub": "bar", "jti": 70}))
    assert await told(session, "user_id") == "bar"


async def test_identity_goes_with_reset_all_and_with_a_rollback(
    session: asyncpg.Connection, key: TestKey
) -> None:
    await take(session, key.token({"sub": "foo", "jti": 1}))
    await session.execute("RESET ALL")
    assert await told(session, "user_id") is None
    await session.execute("BEGIN")
    await take(session, key.token({"sub": "foo", "jti": 2}))
    await session.execute("ROLLBACK")
    assert await told(session, "user_id") is None


async def test_after_a_rollback_the_token_before_is_old(session: asyncpg.Connection, key: TestKey) -> None:
    await take(session, key.token({"sub": "foo", "jti": 1}))
    await session.execute("BEGIN")
    await take(session, key.token({"sub": "bar", "jti": 2}))
    await session.execute("ROLLBACK")
    assert (await refusal(session, "SELECT auth.user_id()"))[0] == "23514"


async def test_a_token_of_a_transaction_ends_with_it(session: asyncpg.Connection, key: TestKey) -> None:
    for jti, end in ((1, "COMMIT"), (2, "ROLLBACK")):
        await session.execute("BEGIN READ ONLY")
        token = key.token({"sub": "foo", "jti": jti})
        await session.fetchval("SELECT set_config('pg_session_jwt.jwt', $1, true)", token)
        assert await told(session, "user_id") == "foo"
        await session.execute(end)
        assert await told(session, "user_id") is None


async def test_the_last_token_may_come_again_and_no_other(session: asyncpg.Connection, key: TestKey) -> None:
    first, second = (key.token({"sub": "foo", "jti": jti}) for jti in (1, 2))
    for token in (first, first, second, second):
        await take(session, token)
    assert (await refusal(session, _taking(first)))[0] == "23514"


async def test_no_token_is_no_change(session: asyncpg.Connection, key: TestKey) -> None:
    """The trap: the identity before stays in force."""
    await take(session, key.token({"sub": "foo", "jti": 1}))
    await session.fetchval("SELECT auth.jwt_session_init(NULL)")
    assert await told(session, "user_id") == "foo"


async def test_an_empty_token_gives_no_identity(session: asyncpg.Connection, key: TestKey) -> None:
    await take(session, key.token({"sub": "foo", "jti": 1}))
    await session.execute("SET pg_session_jwt.jwt = ''")
    if REAL:
        assert await refusal(session, "SELECT auth.user_id()") == ("42804", "invalid JWT encoding")
    else:
        assert await told(session, "user_id") is None


async def test_sessions_do_not_share_what_they_remember(dsn: str, key: TestKey) -> None:
    async with opened(dsn, key.options()) as one, opened(dsn, key.options()) as other:
        await take(one, key.token({"sub": "foo", "jti": 9}))
        assert await told(other, "user_id") is None
        await take(other, key.token({"sub": "bar", "jti": 1}))
        assert (await told(one, "user_id"), await told(other, "user_id")) == ("foo", "bar")


@pytest.mark.skipif(bool(REAL), reason="the real extension checks signatures by a library")
async def test_the_stand_in_checks_signatures_as_libraries_do(dsn: str, keyless: asyncpg.Connection) -> None:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    order = 2**252 + 27742317777372353535851937790883648493
    for length in range(0, 60, 6):
        message = bytes(range(length))
        good = private.sign(message)
        s = int.from_bytes(good[32:], "little")
        assert await verified(keyless, public, message, good)
        for wrong in (
            (public, message + b"x", good),
            (public, message, good[:32] + (s + order).to_bytes(32, "little")),
            (public, message, bytes([good[0] ^ 1]) + good[1:]),
            (public, message, good[:63] + bytes([good[63] ^ 16])),
            (bytes([public[0] ^ 1]) + public[1:], message, good),
        ):
            assert not await verified(keyless, *wrong)
    # A key of small order would take a signature of nobody's.
    for small in (bytes(32), bytes([1]) + bytes(31), (2**255 - 20).to_bytes(32, "little")):
        assert not await verified(keyless, small, b"", bytes([1]) + bytes(63))


async def verified(connection: asyncpg.Connection, *signed: bytes) -> bool:
    return bool(await connection.fetchval("SELECT stand_in.verifies($1, $2, $3)", *signed))


VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
]  # fmt: skip
"""Public key, message and signature: RFC 8032 section 7.1, tests 1 and 2."""


@pytest.mark.skipif(bool(REAL), reason="the real extension checks signatures by a library")
async def test_the_stand_in_knows_the_vectors_of_the_rfc(keyless: asyncpg.Connection) -> None:
    for vector in VECTORS:
        assert await verified(keyless, *map(bytes.fromhex, vector))
