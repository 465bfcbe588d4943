"""Start, stop and accidents of the real process."""

from __future__ import annotations

import signal
import socket
import threading
import time
import urllib.error

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from usher.v1 import query_service_pb2, token_service_pb2

from sidecar.embedded.server import EmbeddedPostgres
from tests.processes import Process, get, running, usher
from tests.servers import PASSWORD, Servers
from tests.system.clients import Client, as_user, connected, refusal, struct


def test_a_stop_lets_calls_in_flight_end_and_serves_keys_meanwhile(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("ready")
        answers: list[object] = []

        def slow() -> None:
            with connected(process.grpc_address) as client:
                answers.append(
                    client.rows(as_user("alice", tenant_id="acme"), "select id from users, pg_sleep(1.5)")
                )

        asking = threading.Thread(target=slow)
        asking.start()
        time.sleep(0.5)
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("draining")
        assert get(process.jwks_url)[0] == 200
        assert get(process.url("/readyz"))[0] == 503
        assert get(process.url("/livez"))[0] == 200
        with connected(process.grpc_address) as client, pytest.raises(grpc.RpcError) as caught:
            client.issue("alice", {})
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        asking.join()
        assert answers == [[("alice",)]]
        assert process.process.wait(20) == 0
    assert process.events("uncaught") == []
    with pytest.raises(urllib.error.URLError):
        get(process.jwks_url)


def test_a_second_signal_ends_it_at_once(demo: dict[str, str]) -> None:
    with running("serve", **demo, drain_grace="60s") as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            waiting = client.queries.RunScopedQuery.future(_sleep_request(30), timeout=60)
            time.sleep(0.5)
            process.process.send_signal(signal.SIGINT)
            process.wait_for("draining")
            process.process.send_signal(signal.SIGINT)
            assert process.process.wait(10) == 128 + signal.SIGINT
            assert waiting.exception() is not None


def test_ctrl_c_ends_it_cleanly(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("ready")
        assert process.stop(signal.SIGINT) == 0
    assert process.lines[-1].endswith('"phase":"stopped","detail":""}')


def test_it_can_be_killed_and_started_again_at_once_on_the_same_ports(demo: dict[str, str], tmp_path) -> None:
    with running("serve", **demo, grpc_admin_address=f"unix:{tmp_path}/admin.sock") as process:
        process.wait_for("ready")
        ports = {
            "grpc_address": process.addresses["grpc"],
            "http_address": process.addresses["http"],
            "admin_http_address": process.addresses["admin_http"],
            "grpc_admin_address": f"unix:{tmp_path}/admin.sock",
        }
        process.kill()
    with running("serve", **demo, **ports) as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            assert client.rows(as_user("alice", tenant_id="acme"), "select id from users") == [("alice",)]


@pytest.mark.parametrize("setting", ["grpc_address", "http_address", "admin_http_address"])
def test_a_port_that_is_taken_is_named_with_its_setting(demo: dict[str, str], setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = dict.fromkeys(("grpc_address", "http_address", "admin_http_address"), "127.0.0.1:0")
        settings = demo | {"issuer": "https://issuer.example"} | others
        done = usher("serve", **(settings | {setting: address}))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"usher: {setting}: cannot listen on {address}")
    assert f"--{setting.replace('_', '-')}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_at_start_and_later(postgres_servers: Servers) -> None:
    """Not ready with a visible reason, no crash, keys and tokens all the same; ready when it comes."""
    with postgres_servers.spare() as server:
        settings = postgres_servers.install_demo(server.superuser_dsn("postgres"))
        postgres_servers.run(server.stop())
        with running("serve", **settings) as process:
            process.wait_for_event(lambda event: event.get("event") == "database_state_changed")
            assert get(process.jwks_url)[0] == 200
            status, body = get(process.url("/readyz"))
            assert status == 503
            assert "refuses the connection" in body
            with connected(process.grpc_address) as client:
                assert client.issue("alice", {})
                _query_is_refused(client, "DATABASE_UNAVAILABLE")

                postgres_servers.run(server.start())
                process.wait_for("ready")
                assert client.rows(as_user("alice", tenant_id="acme"), "select id from users") == [("alice",)]

                postgres_servers.run(server.stop())
                _query_is_refused(client, "DATABASE_UNAVAILABLE")
                postgres_servers.run(server.start())
                process.wait_for("ready")
                assert client.rows(as_user("bob", tenant_id="acme"), "select id from users") == [("bob",)]


def test_a_login_that_could_leave_its_scope_is_refused(
    postgres_server: EmbeddedPostgres, demo: dict[str, str]
) -> None:
    superuser = postgres_server.superuser_dsn(demo["database_url"].rsplit("/", 1)[1])
    with running("serve", **(demo | {"database_url": superuser, "database_logins": "0"})) as process:
        process.wait_for_event(lambda event: event.get("event") == "database_state_changed")
        status, body = get(process.url("/readyz"))
        assert status == 503
        assert "superuser" in body
        with connected(process.grpc_address) as client:
            _query_is_refused(client, "DATABASE_NOT_INSTALLED")


def test_what_weakens_safety_is_said_at_start(demo: dict[str, str]) -> None:
    with running("serve", **demo, show_database_messages="true") as process:
        process.wait_for("started")
        assert [event["setting"] for event in process.events("safety_weakened")] == ["show_database_messages"]


def test_a_misspelt_setting_stops_the_start() -> None:
    done = usher("serve", databse_url="postgresql://localhost/x")
    assert done.returncode == 2
    assert "did you mean database_url?" in done.stderr


def test_a_statement_ends_in_postgres_when_its_caller_goes(
    live_sidecar: Process, postgres_servers: Servers
) -> None:
    with connected(live_sidecar.grpc_address) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.queries.RunScopedQuery(_sleep_request(40), timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        cancelled = client.queries.RunScopedQuery.future(_sleep_request(40), timeout=30)
        time.sleep(0.3)
        cancelled.cancel()
        sleeping = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE query LIKE 'select pg_sleep(40)%' AND state = 'active'"
        )
        deadline = time.monotonic() + 10
        while postgres_servers.value(sleeping) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert postgres_servers.value(sleeping) == 0
        assert client.rows(as_user("alice", tenant_id="acme"), "select id from users") == [("alice",)]


def test_no_line_of_the_log_holds_a_value(demo: dict[str, str]) -> None:
    marker = "marked-value-7777"
    with running("serve", **demo, log_level="debug") as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            token = client.issue(marker, {"secret": marker})
            client.rows(as_user(marker, secret=marker), "select $1::text", marker)
            for sql in (f"select '{marker}'::int", f"select {marker}", "select $1::int"):
                with pytest.raises(grpc.RpcError) as caught:
                    client.rows(as_user("alice"), sql, *([marker] if "$1" in sql else []))
                assert marker not in str(caught.value.details())
            with pytest.raises(grpc.RpcError):
                client.tokens.VerifyToken(
                    token_service_pb2.VerifyTokenRequest(token=token[:-5] + "AAAAA"), timeout=5
                )
        metrics = get(process.url("/metrics"))[1]
    output = "\n".join(process.lines)
    assert "rpc_finished" in output
    assert marker not in output + metrics
    assert token.split(".")[1] not in output + metrics
    assert PASSWORD not in output + metrics


def _sleep_request(seconds: int) -> query_service_pb2.RunScopedQueryRequest:
    return query_service_pb2.RunScopedQueryRequest(
        scope=query_service_pb2.Scope(
            principal=query_service_pb2.Principal(subject="alice", claims=struct({"tenant_id": "acme"}))
        ),
        sql=f"select pg_sleep({seconds})",
    )


def _query_is_refused(client: Client, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.rows(as_user("alice", tenant_id="acme"), "select id from users")
    assert refusal(caught.value)[1] == reason


def test_a_client_that_watches_the_health_does_not_hold_a_stop_up(demo: dict[str, str]) -> None:
    with running("serve", **demo, drain_grace="50s") as process:
        process.wait_for("ready")
        with grpc.insecure_channel(process.grpc_address) as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(25) == 0
            assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
