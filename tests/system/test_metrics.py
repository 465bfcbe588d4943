"""The metrics of the real process, and Prometheus' own opinion of them where promtool is installed."""

from __future__ import annotations

import shutil
import subprocess

import grpc
import pytest

from tests.processes import Process, get
from tests.system.clients import as_user, connected, with_token


@pytest.fixture(scope="module")
def text(live_sidecar: Process) -> str:
    with connected(live_sidecar.grpc_address) as client:
        token = client.issue("alice", {"tenant_id": "acme"})
        client.rows(with_token(token), "select id from users")
        with pytest.raises(grpc.RpcError):
            client.rows(as_user("alice"), "select nonsense")
    get(live_sidecar.jwks_url)
    status, body = get(live_sidecar.url("/metrics"))
    assert status == 200
    return body


@pytest.mark.parametrize(
    "series",
    [
        'usher_rpcs_total{code="OK",method="IssueToken",service="usher.v1.TokenService"}',
        'usher_rpcs_total{code="INVALID_ARGUMENT",method="RunScopedQuery",service="usher.v1.QueryService"}',
        'usher_tokens_issued_total{alg="ES256"}',
        'usher_queries_total{backend="postgres",outcome="ok"}',
        'usher_queries_total{backend="postgres",outcome="UNDEFINED_OBJECT"}',
        "usher_db_up 1.0",
        'usher_keys{state="active"} 1.0',
        'usher_keys{state="prepared"} 1.0',
        "usher_jwks_bytes",
        "usher_build_info{",
    ],
)
def test_what_happened_is_counted(text: str, series: str) -> None:
    assert series in text


def test_promtool_has_no_complaint(text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
