"""The guide to custom JWTs with row-level security, lived through on real processes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import asyncpg
import grpc
import pytest
from usher.v1 import key_service_pb2, query_service_pb2

from sidecar.postgres.logins import connector
from tests.processes import Process, running
from tests.servers import Servers
from tests.system.clients import CachingVerifier, Client, as_user, connected, refusal, with_token

FAST = {
    "rotation_period": "3s",
    "rotation_lead_time": "3s",
    "token_ttl": "2s",
    "max_token_ttl": "4s",
    "unsafe_rotation_timing": "true",
}
"""A clock as fast as whole seconds allow."""


@pytest.fixture(scope="module")
def guide(postgres_servers: Servers) -> Iterator[dict[str, str]]:
    """A database with the guide's tables and the guide's users."""
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        postgres_servers.execute(
            dsn,
            """
            INSERT INTO tenants VALUES ('tenant-456', 'The guide''s tenant');
            INSERT INTO users VALUES ('tenant-456', 'user-123', 'The guide''s user', 'user-123@example.com');
            """,
        )
        yield settings


@pytest.fixture(params=["ES256", "RS256"])
def sidecar(
    request: pytest.FixtureRequest, guide: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    socket = tmp_path_factory.mktemp("guide") / "admin.sock"
    with running(
        "serve",
        **guide,
        algorithm=request.param,
        issuer="https://auth.example.com",
        grpc_admin_address=f"unix:{socket}",
        **FAST,
    ) as process:
        yield process.wait_for("ready")


def test_the_guide_from_the_first_key_to_the_second_rotation(sidecar: Process) -> None:
    verifier = CachingVerifier(sidecar.jwks_url, keep_seconds=0.5)
    claims = {"tenant_id": "tenant-456", "role": "member", "permissions": ["read", "write"], "level": 7}
    with connected(sidecar.grpc_address) as client, connected(sidecar.admin_grpc_address) as admin:
        token = client.issue("user-123", claims)
        verified = verifier.verify(token)
        assert {name: verified[name] for name in claims} == claims
        assert isinstance(verified["level"], int)
        assert verified["sub"] == "user-123"
        assert verified["exp"] - verified["iat"] == 2

        # Rows outside of the claims do not exist, by token and by name alike.
        for scope in (with_token(token), as_user("user-123", **claims)):
            assert client.rows(scope, "select id from users") == [("user-123",)]
            assert client.rows(scope, "select id from tenants") == [("tenant-456",)]
        assert client.rows(as_user("alice", tenant_id="acme"), "select id from users") == [("alice",)]
        assert client.rows(as_user("user-123"), "select id from tenants") == []
        with pytest.raises(grpc.RpcError) as caught:
            client.rows(
                as_user("user-123", **claims),
                "insert into users values ('acme', 'user-124', 'name', 'e@example.com')",
            )
        assert refusal(caught.value) == ("PERMISSION_DENIED", "ROW_LEVEL_SECURITY")

        seen = client.queries.WhoAmI(
            query_service_pb2.WhoAmIRequest(scope=as_user("user-123", **claims)), timeout=10
        )
        assert (seen.role, seen.user_id) == ("authenticated", "user-123")

        keys_that_signed = _tokens_hold_while_keys_rotate(client, admin, verifier)
    assert len(keys_that_signed) >= 3


def _tokens_hold_while_keys_rotate(client: Client, admin: Client, verifier: CachingVerifier) -> set[str]:
    """Issues tokens through two rotations, and verifies each again and again while it is valid."""
    alive: list[tuple[str, int]] = []
    signed: set[str] = set()
    checked = 0
    deadline = time.monotonic() + 30
    while len(signed) < 3:
        assert time.monotonic() < deadline, "it rotated too slowly"
        token = client.issue("user-123", {"tenant_id": "tenant-456"}, ttl=4)
        alive.append((token, verifier.verify(token)["exp"]))
        for old, expires_at in alive:
            if time.time() < expires_at - 0.5:
                verifier.verify(old)
                checked += 1
        alive = [(old, expires_at) for old, expires_at in alive if time.time() < expires_at]
        keys = admin.keys.ListKeys(key_service_pb2.ListKeysRequest(), timeout=10).keys
        signed |= {key.kid for key in keys if key.state == key_service_pb2.KEY_STATE_ACTIVE}
        time.sleep(0.05)
    assert checked > 50
    return signed


def test_many_at_once_see_their_own_rows(live_sidecar: Process) -> None:
    """Eight threads as four users over one pool: nobody ever sees another's row."""
    users = [("alice", "acme"), ("bob", "acme"), ("carol", "globex"), ("dave", "globex")]
    wrong: list[object] = []

    def ask(subject: str, tenant: str) -> None:
        with connected(live_sidecar.grpc_address) as client:
            for _ in range(25):
                rows = client.rows(as_user(subject, tenant_id=tenant), "select tenant_id, id from users")
                if rows != [(tenant, subject)]:
                    wrong.append(rows)

    threads = [threading.Thread(target=ask, args=user) for user in users * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_login_has_no_privilege_of_its_own(guide: dict[str, str]) -> None:
    """The guide's promise rests on it: what the sidecar logs in as can read nothing by itself."""

    async def read() -> None:
        connection = await connector(guide["database_url"], 24)(guide["database_url"])
        try:
            await connection.fetch("select * from users")
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(read())
