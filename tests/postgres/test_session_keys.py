"""Keys of sessions: what they sign, and how a session comes to have one or is not opened at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sidecar.core.errors import Reason, UsherError
from sidecar.core.issuer import Scope
from sidecar.postgres.codecs import TypedConnection
from sidecar.postgres.session_keys import SessionKey, session_key, with_session_key
from tests.postgres.scoped import ALICE, as_role, connected, make_login
from tests.servers import Servers
from tests.session_jwt import extension

LOGIN = "usher_keyed"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1"


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def public_key(key: SessionKey) -> Ed25519PublicKey:
    jwk = json.loads(key.option.removeprefix("-c pg_session_jwt.jwk="))
    assert {**jwk, "x": ""} == {"kty": "OKP", "crv": "Ed25519", "x": ""}
    return Ed25519PublicKey.from_public_bytes(decoded(jwk["x"]))


def payload(token: str) -> dict[str, Any]:
    return json.loads(decoded(token.split(".")[1]))


def test_a_token_has_the_claims_and_a_number_that_rises() -> None:
    key = SessionKey()
    scope = Scope(subject="ü", payload={"sub": "ü", "jti": "lost", "exp": 100, "deep": {"a": [1.5, None]}})
    for number in (1, 2, 3):
        told, token = key.token(scope, now=99.9)
        assert (told, payload(token)) == (number, {**scope.payload, "jti": number})
        assert json.loads(decoded(token.split(".")[0])) == {"alg": "EdDSA"}
        signed, _, signature = token.rpartition(".")
        public_key(key).verify(decoded(signature), signed.encode())
        with pytest.raises(InvalidSignature):
            public_key(SessionKey()).verify(decoded(signature), signed.encode())
    assert type(payload(token)["jti"]) is int


@pytest.mark.parametrize("now", [100, 100.5, 1e12])
def test_no_token_is_made_of_claims_that_have_expired(now: float) -> None:
    key = SessionKey()
    with pytest.raises(UsherError) as refused:
        key.token(Scope(subject="x", payload={"sub": "x", "exp": 100}), now)
    assert (refused.value.reason, refused.value.metadata) == (Reason.TOKEN_EXPIRED, {"field": "scope.token"})
    assert key.token(ALICE, now)[0] == 1


def test_the_startup_option_is_one_word() -> None:
    assert SessionKey().option.count(" ") == 1  # the one after -c
    assert SessionKey().option != SessionKey().option


def test_a_connection_without_a_key_has_none() -> None:
    assert session_key(object()) is None


@pytest.fixture(scope="module")
def keyed_database(postgres_servers: Servers) -> Iterator[str]:
    """The superuser's address of a database with the extension, and a login that may become authenticated."""
    with extension.database(postgres_servers) as dsn:
        postgres_servers.run(_prepare(dsn))
        yield dsn


async def _prepare(dsn: str) -> None:
    async with connected(dsn) as admin:
        await extension.create(admin)
        await make_login(admin, LOGIN, "NOINHERIT")
        await admin.execute(
            "DO $$ BEGIN CREATE ROLE authenticated; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            f"GRANT authenticated TO {LOGIN}; GRANT USAGE ON SCHEMA auth TO authenticated"
        )


async def opened(
    dsn: str, *, role: str = "authenticated", lose_options: bool = False
) -> asyncpg.Connection[Any]:
    async def connect(*args: Any, **kwargs: Any) -> asyncpg.Connection[Any]:
        if lose_options:  # as a pooler may
            kwargs["server_settings"].pop("options")
        return await asyncpg.connect(*args, **kwargs)

    return await with_session_key(connect, dsn, role)(
        dsn, connection_class=TypedConnection, server_settings={"application_name": "keyed"}
    )


async def test_a_session_has_a_key_that_the_extension_believes(keyed_database: str) -> None:
    connection = await opened(as_role(keyed_database, LOGIN))
    key = session_key(connection)
    assert key is not None
    assert key.believed
    await connection.execute("SET ROLE authenticated")
    _, token = key.token(ALICE, 0)
    await connection.fetchval("SELECT auth.jwt_session_init($1)", token)
    assert await connection.fetchval("SELECT auth.user_id()") == "alice"
    assert await connection.fetchval("SHOW application_name") == "keyed"
    await connection.close()


async def test_options_of_the_url_are_kept(keyed_database: str) -> None:
    dsn = as_role(keyed_database, LOGIN) + "?options=-c%20work_mem%3D5MB"
    connection = await opened(dsn)
    assert await connection.fetchval("SHOW work_mem") == "5MB"
    key = session_key(connection)
    assert key is not None
    assert key.believed
    await connection.close()


async def test_without_the_extension_a_key_does_no_harm(fresh_database_each_version: str) -> None:
    connection = await opened(fresh_database_each_version)
    key = session_key(connection)
    assert key is not None
    assert not key.believed
    await connection.close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"lose_options": True}, "must come in the startup options"),
        ({"role": "nosuchrole"}, "nosuchrole does not exist"),
        ({"role": "pg_monitor"}, "GRANT USAGE ON SCHEMA auth TO pg_monitor"),
    ],
)
async def test_a_session_whose_key_is_not_taken_is_closed(
    keyed_database: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsherError, match=complaint) as refused:
        await opened(as_role(keyed_database, LOGIN), **options)
    assert refused.value.reason is Reason.DATABASE_NOT_INSTALLED
    async with connected(keyed_database) as admin:
        while await admin.fetchval(OPEN, LOGIN):
            pass
