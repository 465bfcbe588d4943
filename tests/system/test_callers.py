"""Callers on the real process: every proof by its own rules, and files and policy that change under it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import grpc
import pytest

from tests import certificates
from tests.processes import Process, get, running, usher
from tests.system.clients import connected, refusal

CA = certificates.authority()
KEY, ADMIN_KEY = "usher_" + "k" * 43, "usher_" + "a" * 43
POLICY = """\
[callers.gateway]
spiffe_id = "spiffe://example.org/gateway"
methods = ["IssueToken"]
subjects = ["*"]
claims.via = {{ from = "spiffe_id" }}

[callers.local]
uid = {uid}
methods = ["IssueToken"]
subjects = ["*"]

[callers.operator]
key_sha256 = "{admin}"
admin = true
methods = ["ListKeys"]
"""


@pytest.fixture
def settings(demo: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """TLS with client certificates for services, a Unix socket with a policy for admins."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(uid=os.geteuid(), admin=hashlib.sha256(ADMIN_KEY.encode()).hexdigest()))
    cert, key = certificates.server(CA).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    return demo | {
        "policy_file": str(policy),
        "tls_cert_file": str(cert),
        "tls_key_file": str(key),
        "tls_client_ca_file": str(tmp_path / "ca.pem"),
        "grpc_admin_address": f"unix:{tmp_path}/admin.sock",
        "log_level": "debug",
    }


def credentials(client: certificates.Certified) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(CA.pem, client.key_pem, client.pem)


def wait_for_tls(process: Process, outcome: str) -> None:
    process.wait_for_event(
        lambda event: event.get("event") == "tls_loaded" and event.get("outcome") == outcome
    )


def test_callers_of_a_running_sidecar(settings: dict[str, str], tmp_path: Path) -> None:
    gateway = credentials(certificates.client(CA, uris=["spiffe://example.org/gateway"]))
    stranger = credentials(certificates.client(CA, uris=["spiffe://example.org/other"]))
    with running("serve", **settings) as process:
        process.wait_for("ready")
        with connected(process.grpc_address, gateway) as client:
            assert client.issue("alice", {})
            with connected(process.grpc_address, stranger) as other, pytest.raises(grpc.RpcError) as caught:
                other.issue("alice", {})
            assert refusal(caught.value) == ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED")

            # A new certificate is used by new connections, a broken one by none; the old one goes on.
            certificates.server(CA, "fresh").write(tmp_path, "server")
            wait_for_tls(process, "loaded")
            (tmp_path / "server.key").write_text("broken")
            wait_for_tls(process, "refused")
            assert client.issue("alice", {})
            with connected(process.grpc_address, gateway) as another:
                assert another.issue("bob", {})

        # The admin socket: this process's user is a caller, but no admin, whatever key it shows.
        listing = ("keys", "list", "--address", process.admin_grpc_address)
        refused = usher(*listing, key=ADMIN_KEY)
        assert refused.returncode == 1
        assert "PERMISSION_DENIED POLICY_REFUSED: callers.local" in refused.stderr
        # Without the rule for this user the key counts.
        text = (tmp_path / "policy.toml").read_text()
        (tmp_path / "policy.toml").write_text(text.replace(f"uid = {os.geteuid()}", "uid = 4242"))
        process.wait_for_event(lambda event: event.get("event") == "policy_loaded")
        assert usher(*listing, key=ADMIN_KEY).returncode == 0
        assert "CALLER_UNAUTHENTICATED" in usher(*listing, key=KEY).stderr
        assert "CALLER_UNAUTHENTICATED" in usher(*listing).stderr

        metrics = get(process.url("/metrics"))[1]
        assert 'usher_callers_refused_total{proof="mtls"} 1.0' in metrics
        assert 'usher_callers_refused_total{proof="key"} 1.0' in metrics
        assert 'usher_callers_refused_total{proof="anonymous"} 1.0' in metrics
        assert "usher_tls_stale 1.0" in metrics
        (said,) = [event for event in process.events("lifecycle") if event["phase"] == "callers"]
        assert said["detail"] == "known by mtls, unix, key; whoever proves nothing is refused"
        called = [event for event in process.events("rpc_finished") if event["caller"] == "gateway"]
        assert {event["identity"] for event in called} == {"spiffe://example.org/gateway"}
        output = "\n".join(process.lines)
        for secret in (KEY, ADMIN_KEY):
            assert secret not in output
            assert hashlib.sha256(secret.encode()).hexdigest() not in output
        assert process.stop() == 0
    assert sorted(path.name for path in tmp_path.iterdir() if "admin" in path.name) == []


def test_a_sidecar_on_a_socket_drains_through_the_relay(settings: dict[str, str], tmp_path: Path) -> None:
    for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "grpc_admin_address"):
        del settings[name]
    policy = tmp_path / "policy.toml"
    policy.write_text(policy.read_text().split("\n\n", 1)[1])
    address = f"unix:{tmp_path}/usher.sock"
    for _ in range(2):
        with running("serve", **settings | {"grpc_address": address}) as process:
            process.wait_for("ready")
            with connected(address) as client:
                assert client.issue("alice", {})
                process.process.kill()  # and the next one finds what it leaves
                process.process.wait()
    with running("serve", **settings | {"grpc_address": address}) as process:
        process.wait_for("ready")
        with connected(address) as client:
            assert client.issue("alice", {})
            assert process.stop() == 0
    assert not list(tmp_path.glob("usher.sock*"))


def test_without_callers_it_is_said_at_start(demo: dict[str, str]) -> None:
    with running("serve", **demo) as process:
        process.wait_for("started")
        (said,) = [event for event in process.events("lifecycle") if event["phase"] == "callers"]
        assert said["detail"].startswith("none are configured")
