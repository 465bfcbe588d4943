"""Two sidecars on one database: what is revoked at one is refused at the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from usher.v1 import query_service_pb2, token_service_pb2
from usher.v1 import revocation_service_pb2 as pb

from sidecar.postgres import installer
from tests.processes import Process, get, running, usher
from tests.servers import Servers
from tests.system.clients import DEADLINE, Client, as_user, connected, refusal, with_token

PATIENCE = 20.0
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'usher revocations'"
SECRETS = """
CREATE TABLE secrets (owner text, body text);
INSERT INTO secrets VALUES ('alice', 'of alice'), ('bob', 'of bob');
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON secrets TO authenticated;
CREATE POLICY own ON secrets TO authenticated
  USING ((SELECT usher.not_revoked()) AND (SELECT auth.user_id()) = owner);
"""
REVOKED = ("UNAUTHENTICATED", "TOKEN_REVOKED")


@dataclass(frozen=True)
class Sidecar:
    """A process, and clients of both its addresses."""

    process: Process
    client: Client
    admin: Client

    def revoke(self, **revoked: str) -> pb.RevokeTokensResponse:
        request = pb.RevokeTokensRequest(revoked=pb.Revoked(**revoked))
        answer: pb.RevokeTokensResponse = self.admin.revocations.RevokeTokens(request, timeout=DEADLINE)
        return answer

    def lift(self, **revoked: str) -> bool:
        request = pb.LiftRevocationRequest(revoked=pb.Revoked(**revoked))
        return bool(self.admin.revocations.LiftRevocation(request, timeout=DEADLINE).lifted)

    def verdict(self, token: str) -> tuple[str, str]:
        """What VerifyToken says of a token; OK when it holds."""
        try:
            self.client.tokens.VerifyToken(
                token_service_pb2.VerifyTokenRequest(token=token), timeout=DEADLINE
            )
        except grpc.RpcError as error:
            return refusal(error)
        return "OK", ""


@contextmanager
def sidecar(settings: dict[str, str], socket: Path) -> Iterator[Sidecar]:
    with running("serve", **settings, grpc_admin_address=f"unix:{socket}", pool_max_size="4") as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client, connected(f"unix:{socket}") as admin:
            yield Sidecar(process, client, admin)


@pytest.fixture(scope="module")
def database(postgres_servers: Servers) -> Iterator[tuple[str, dict[str, str]]]:
    """The superuser's address, and the settings of a sidecar."""
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        postgres_servers.execute(dsn, SECRETS)
        yield dsn, settings


@pytest.fixture(scope="module")
def both(
    database: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Sidecar, Sidecar]]:
    folder = tmp_path_factory.mktemp("both")
    with sidecar(database[1], folder / "a.sock") as first, sidecar(database[1], folder / "b.sock") as second:
        yield first, second


def holds(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("by", ["jti", "sub", "kid"])
def test_a_token_revoked_at_one_is_refused_at_the_other(both: tuple[Sidecar, Sidecar], by: str) -> None:
    first, second = both
    token = second.client.issue(f"user-{by}", {"tenant_id": "acme"})
    named = jwt.decode(token, options={"verify_signature": False}) | jwt.get_unverified_header(token)
    assert second.verdict(token) == ("OK", "")
    answer = first.revoke(**{by: named[by]})
    assert answer.shared
    holds(lambda: second.verdict(token) == REVOKED)
    with pytest.raises(grpc.RpcError) as caught:
        second.client.rows(with_token(token), "select 1::text")
    assert refusal(caught.value) == REVOKED
    with pytest.raises(grpc.RpcError) as caught:
        second.client.queries.WhoAmI(
            query_service_pb2.WhoAmIRequest(scope=with_token(token)), timeout=DEADLINE
        )
    assert refusal(caught.value) == REVOKED
    listed = second.admin.revocations.ListRevocations(pb.ListRevocationsRequest(), timeout=DEADLINE)
    assert [entry for entry in listed.revocations if entry.revoked == pb.Revoked(**{by: named[by]})]
    assert first.lift(**{by: named[by]})
    holds(lambda: second.verdict(token) == ("OK", ""))
    for process in (first.process, second.process):
        assert [line for line in process.lines if named[by] in line and by != "kid"] == []


def test_a_user_named_directly_is_refused_at_both(both: tuple[Sidecar, Sidecar]) -> None:
    first, second = both
    first.revoke(sub="carol")

    def refused(there: Sidecar) -> bool:
        try:
            there.client.rows(as_user("carol", tenant_id="globex"), "select id from users")
        except grpc.RpcError as error:
            return refusal(error) == REVOKED
        return False

    assert refused(first)
    holds(lambda: refused(second))
    first.lift(sub="carol")
    holds(lambda: not refused(second))


def test_the_row_filter_sees_an_entry_before_the_sidecars_do(
    both: tuple[Sidecar, Sidecar], database: tuple[str, dict[str, str]], postgres_servers: Servers
) -> None:
    """Made without a notification: neither sidecar has heard of it when the next statement runs."""
    first, second = both
    look = "select body from secrets"
    for there in both:
        assert there.client.rows(as_user("alice"), look) == [("of alice",)]
    postgres_servers.execute(
        database[0],
        "INSERT INTO usher.revocation VALUES ('sub', 'alice', NULL, now(), now() + interval '1 h')",
    )
    seen: list[object] = []
    for there in (second, first):
        try:
            seen.append(there.client.rows(as_user("alice"), look))
        except grpc.RpcError as error:  # it was just looking
            seen.append(refusal(error))
    assert all(one in ([], REVOKED) for one in seen), seen
    assert first.client.rows(as_user("bob"), look) == [("of bob",)]
    assert first.lift(sub="alice")
    holds(lambda: first.client.rows(as_user("alice"), look) == [("of alice",)])
    holds(lambda: second.verdict(second.client.issue("alice", {})) == ("OK", ""))


def test_a_list_whose_connections_are_killed_still_converges(
    both: tuple[Sidecar, Sidecar], database: tuple[str, dict[str, str]], postgres_servers: Servers
) -> None:
    first, second = both
    token = second.client.issue("dave", {})
    for turn in range(3):
        postgres_servers.execute(database[0], KILL)
        by = ("jti", "sub", "kid")[turn]
        named = jwt.decode(token, options={"verify_signature": False}) | jwt.get_unverified_header(token)
        first.revoke(**{by: named[by]})
        holds(lambda: second.verdict(token) == REVOKED)
        assert first.lift(**{by: named[by]})
        holds(lambda: second.verdict(token) == ("OK", ""))
    metrics = get(second.process.url("/metrics"))[1]
    assert "usher_revocation_list_told 1.0" in metrics
    assert second.process.events("uncaught") == []


def test_the_command_line_revokes_lists_and_lifts(both: tuple[Sidecar, Sidecar]) -> None:
    first, _ = both
    address = f"--address={first.process.admin_grpc_address}"
    done = usher("token", "revoke", "--sub", "erin", "--for", "2h", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert "revoked until" in done.stdout
    assert "alone" not in done.stdout
    assert "sub  'erin'" in usher("token", "revocations", address).stdout
    with pytest.raises(grpc.RpcError) as caught:
        first.client.issue("erin", {})
    assert refusal(caught.value) == REVOKED
    assert usher("token", "lift", "--sub", "erin", address).returncode == 0
    assert first.client.issue("erin", {})


def test_without_the_list_a_sidecar_is_not_ready_and_says_what_to_do(
    postgres_servers: Servers, tmp_path: Path
) -> None:
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        postgres_servers.execute(dsn, installer.scripts()[2].down)
        with running("serve", **settings) as process:
            failed = process.wait_for_event(lambda event: event.get("event") == "revocations_read")
            assert "usher db install" in failed["detail"]
            holds(lambda: "usher db install" in get(process.url("/readyz"))[1])
            with connected(process.grpc_address) as client:
                token = client.issue("alice", {})
                with pytest.raises(grpc.RpcError) as caught:
                    client.tokens.VerifyToken(
                        token_service_pb2.VerifyTokenRequest(token=token), timeout=DEADLINE
                    )
                assert refusal(caught.value) == ("FAILED_PRECONDITION", "DATABASE_NOT_INSTALLED")
            up = "".join(f"BEGIN; {script.up}; COMMIT;" for script in installer.scripts()[2:])
            postgres_servers.execute(dsn, up)
            process.wait_for("ready")
