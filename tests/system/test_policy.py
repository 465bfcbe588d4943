"""The policy on the real process: in force from the start, changed while it runs, kept when it breaks."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from usher.v1 import query_service_pb2

from tests.processes import Process, get, running, usher
from tests.system.clients import Client, as_user, connected, refusal, with_token

POLICY = """\
[callers.anonymous]
methods = ["IssueToken", "RunScopedQuery", "WhoAmI"]
subjects = ["{subject}"]
sql = ["users_of_mine"]
max_ttl = "1m"
claims.tenant_id = {{ values = ["acme"], required = true }}
claims.source = {{ fixed = "policy-test" }}
"""
STATEMENT = """\
-- name: users_of_mine
-- params: prefix text
SELECT id FROM users WHERE id LIKE $1 || '%' ORDER BY id
"""
LEAVES = 5.0


@pytest.fixture
def statements(tmp_path: Path) -> Path:
    folder = tmp_path / "statements"
    folder.mkdir()
    (folder / "users.sql").write_text(STATEMENT)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(subject="alice"))
    return path


def serving(demo: dict[str, str], file: Path, statements: Path):  # type: ignore[no-untyped-def]
    return running(
        "serve",
        **demo,
        policy_file=str(file),
        statements_dir=str(statements),
        log_level="debug",
    )


def wait_for_policy(process: Process, outcome: str) -> dict[str, object]:
    return process.wait_for_event(
        lambda event: event.get("event") == "policy_loaded" and event.get("outcome") == outcome
    )


def rule(error: grpc.RpcError) -> str:
    """The rule that a refusal names."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.metadata["rule"])
    return ""


def refused(client: Client, subject: str, **claims: str) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        client.issue(subject, claims)
    assert refusal(caught.value) == ("PERMISSION_DENIED", "POLICY_REFUSED")
    return rule(caught.value)


def run_named(client: Client, scope: query_service_pb2.Scope, prefix: str) -> list[str]:
    request = query_service_pb2.RunScopedQueryRequest(scope=scope, statement="users_of_mine")
    request.parameters.add(text_value=prefix)
    answer = client.queries.RunScopedQuery(request, timeout=LEAVES)
    return list(answer.data[0].texts)


def test_a_policy_on_a_running_sidecar(demo: dict[str, str], file: Path, statements: Path) -> None:
    with serving(demo, file, statements) as process:
        process.wait_for("ready")
        with connected(process.grpc_address) as client:
            # What it allows, with what the sidecar adds.
            token = client.issue("alice", {"tenant_id": "acme"})
            assert run_named(client, with_token(token), "a") == ["alice"]
            assert run_named(client, as_user("alice", tenant_id="acme"), "b") == []
            # What it refuses.
            assert refused(client, "bob", tenant_id="acme") == "callers.anonymous.subjects"
            assert refused(client, "alice", tenant_id="globex") == "callers.anonymous.claims.tenant_id"
            assert refused(client, "alice") == "callers.anonymous.claims.tenant_id"
            with pytest.raises(grpc.RpcError) as caught:
                client.rows(as_user("alice", tenant_id="acme"), "select id from users")
            assert rule(caught.value) == "callers.anonymous.sql"

            # A broken file changes nothing, and says so.
            file.write_text(POLICY.format(subject="bob") + "max_rowz = 5\n")
            event = wait_for_policy(process, "refused")
            assert f"{file}:8: callers.anonymous.max_rowz: there is no such key" in str(event["detail"])
            client.issue("alice", {"tenant_id": "acme"})
            metrics = get(process.url("/metrics"))[1]
            assert "usher_policy_stale 1.0" in metrics
            assert 'usher_policy_reloads_total{outcome="refused"} 1.0' in metrics
            assert 'caller="anonymous",method="IssueToken",verdict="allowed"' in metrics

            # A good one is in force within a second or two.
            file.write_text(POLICY.format(subject="bob"))
            wait_for_policy(process, "loaded")
            assert refused(client, "alice", tenant_id="acme") == "callers.anonymous.subjects"
            client.issue("bob", {"tenant_id": "acme"})
            # The token that was issued before is judged by the policy of now.
            with pytest.raises(grpc.RpcError) as caught:
                run_named(client, with_token(token), "a")
            assert rule(caught.value) == "callers.anonymous.subjects"

            # SIGHUP reads it without any change, and stops nothing.
            process.process.send_signal(signal.SIGHUP)
            wait_for_policy(process, "loaded")
            metrics = get(process.url("/metrics"))[1]
            assert "usher_policy_stale 0.0" in metrics
            assert 'usher_policy_reloads_total{outcome="loaded"} 3.0' in metrics
        output = "\n".join(process.lines)
        assert "globex" not in output
        assert '"policy_decided","caller":"anonymous"' in output
        assert process.stop() == 0


def test_without_a_policy_a_hangup_stops_nothing(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("ready")
        process.process.send_signal(signal.SIGHUP)
        with connected(process.grpc_address) as client:
            client.issue("anyone", {})
        assert process.stop() == 0


def test_a_broken_policy_or_statement_stops_the_start(
    demo: dict[str, str], file: Path, statements: Path
) -> None:
    settings = demo | {"policy_file": str(file), "statements_dir": str(statements)}
    (statements / "second.sql").write_text("-- name: users_of_mine\nselect 1")
    done = usher("serve", **settings)
    assert done.returncode == 2
    assert "has this name, too" in done.stderr
    (statements / "second.sql").unlink()
    (statements / "users.sql").unlink()
    done = usher("serve", **settings)
    assert done.returncode == 2
    assert f"usher: {file}:4: callers.anonymous.sql[0]: there is no such named statement" in done.stderr
    assert "Traceback" not in done.stderr
