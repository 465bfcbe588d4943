"""Behind a PgBouncer in transaction mode: the weaker way, chosen by name, and what still holds in it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from usher.v1 import query_service_pb2

from tests.processes import Process, get, running
from tests.servers import PASSWORD, Servers, temporary_folder
from tests.system.clients import as_user, connected, refusal

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
NOBODY = 65534
LOGIN = "usher_test_1"
POISONS = (
    "select set_config('role', 'none', false)",
    "select set_config('search_path', 'pg_temp', false)",
    "select set_config('request.jwt.claims', '{\"sub\": \"carol\"}', false)",
    "select set_config('TimeZone', 'Pacific/Kiritimati', false)",
    "select set_config('client_encoding', 'LATIN1', false)",
    "select set_config('default_transaction_read_only', 'on', false)",
    "select setseed(0.5)",
)


@pytest.fixture(scope="module")
def pooler(postgres_servers: Servers) -> Iterator[dict[str, str]]:
    """The settings of a sidecar whose connections share two sessions of one login."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian: pgbouncer)")
    folder = temporary_folder()
    with postgres_servers.database() as dsn:
        settings = postgres_servers.install_demo(dsn)
        server = urlsplit(dsn)
        # The installer's logins take one session each; here one login has them all.
        postgres_servers.execute(dsn, f"ALTER ROLE {LOGIN} CONNECTION LIMIT -1")
        port = _free_port()
        _configure(folder, server.hostname or "", server.port or 0, server.path[1:], port)
        account = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen([PGBOUNCER, folder / "conf.ini"], stderr=subprocess.DEVNULL, **account)
        try:
            _wait_for(port)
            yield {
                "database_url": f"postgresql://{LOGIN}:{PASSWORD}@127.0.0.1:{port}/demo",
                "claim_key": settings["claim_key"],
                "database_pooling": "transaction",
                "shared_login": "true",
            }
        finally:
            process.terminate()
            process.wait(10)
            postgres_servers.execute(dsn, f"ALTER ROLE {LOGIN} CONNECTION LIMIT 1")
            shutil.rmtree(folder)


def _configure(folder: Path, host: str, server_port: int, database: str, port: int) -> None:
    (folder / "users.txt").write_text(f'"{LOGIN}" "{PASSWORD}"\n')
    (folder / "conf.ini").write_text(
        f"""[databases]
demo = host={host} port={server_port} dbname={database} user={LOGIN} password={PASSWORD} pool_size=2
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
unix_socket_dir =
logfile = {folder}/log
"""
    )
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def sidecar(pooler: dict[str, str]) -> Iterator[Process]:
    with running("serve", **pooler) as process:
        yield process.wait_for("ready")


def test_the_weaker_way_is_said_at_start(sidecar: Process) -> None:
    assert [event["setting"] for event in sidecar.events("safety_weakened")] == ["shared_login"]


def test_users_over_shared_sessions_see_their_own_rows_whatever_others_leave_behind(sidecar: Process) -> None:
    users = (("alice", "acme"), ("bob", "acme"), ("carol", "globex"), ("dave", "globex"))
    wrong: list[object] = []

    def ask(subject: str, tenant: str) -> None:
        with connected(sidecar.grpc_address) as client:
            for number in range(30):
                if number % 3 == 0:
                    client.rows(as_user(subject, tenant_id=tenant), POISONS[number // 3 % len(POISONS)])
                rows = client.rows(
                    as_user(subject, tenant_id=tenant), "select id, current_setting('TimeZone') from users"
                )
                if rows != [(subject, "UTC")]:
                    wrong.append(rows)

    threads = [threading.Thread(target=ask, args=user) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert get(sidecar.url("/readyz"))[0] == 200


def test_claims_cannot_be_forged_there_either(sidecar: Process) -> None:
    forged = (
        "with f as materialized (select set_config('request.jwt.claims', '{\"sub\": \"carol\"}', true) as c)"
        " select u.id from f, users u where f.c is not null"
    )
    with connected(sidecar.grpc_address) as client, pytest.raises(grpc.RpcError) as caught:
        client.rows(as_user("alice", tenant_id="acme"), forged)
    assert refusal(caught.value) == ("PERMISSION_DENIED", "CLAIMS_TAMPERED")


def test_writes_and_read_only_work_there(sidecar: Process) -> None:
    with connected(sidecar.grpc_address) as client:
        changed = client.rows(as_user("bob", tenant_id="acme"), "update users set name = name returning id")
        assert changed == [("bob",)]


def test_nobody_can_keep_the_others_from_writing(sidecar: Process) -> None:
    with connected(sidecar.grpc_address) as client:
        for number in range(12):
            client.rows(
                as_user("alice", tenant_id="acme"),
                "select set_config('default_transaction_read_only', 'on', false)",
            )
            changed = client.rows(
                as_user("bob", tenant_id="acme"), "update users set name = name returning id"
            )
            assert changed == [("bob",)], number


def test_streams_work_there_and_leave_nothing_behind(sidecar: Process) -> None:
    """A portal lives in its transaction, and so does the session that PgBouncer gives it."""
    many = "select auth.user_id() from generate_series(1, 20000)"
    with connected(sidecar.grpc_address) as client:
        for subject, tenant in (("alice", "acme"), ("carol", "globex")) * 3:
            scope = as_user(subject, tenant_id=tenant)
            request = query_service_pb2.StreamScopedQueryRequest(scope=scope, sql=many)
            parts = list(client.queries.StreamScopedQuery(request, timeout=30))
            seen = [text for part in parts if part.data for text in part.data[0].texts]
            assert seen == [subject] * 20_000
            left = client.queries.StreamScopedQuery(request, timeout=30)
            next(left)
            left.cancel()
            client.rows(scope, POISONS[2])
            assert client.rows(scope, "select id from users") == [(subject,)]


def test_transactions_work_there_whatever_their_statements_leave_behind(sidecar: Process) -> None:
    scope = as_user("alice", tenant_id="acme")
    seen = query_service_pb2.ScopedStatement(sql="select auth.user_id(), current_user::text")
    with connected(sidecar.grpc_address) as client:
        for poison in POISONS:
            if "request.jwt" in poison or "client_encoding" in poison:
                continue  # what comes behind these is refused
            request = query_service_pb2.RunScopedTransactionRequest(
                scope=scope, statements=[query_service_pb2.ScopedStatement(sql=poison), seen]
            )
            last = client.queries.RunScopedTransaction(request, timeout=30).results[-1]
            assert [list(column.texts) for column in last.data] == [["alice"], ["authenticated"]]
            assert client.rows(as_user("carol", tenant_id="globex"), "select id from users") == [("carol",)]
