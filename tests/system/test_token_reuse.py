"""The setting token_reuse on a running sidecar: who asks decides what is shared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import usher

from tests.processes import running

KEYS = {name: f"usher_{name}" + "k" * 40 for name in ("orders", "billing")}
CALLER = """
[callers.{name}]
key_sha256 = "{digest}"
methods = ["IssueToken"]
subjects = ["*"]
other_claims = true
"""


def test_one_token_for_equal_requests_of_one_caller(demo: dict[str, str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    digests = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    policy.write_text("".join(CALLER.format(name=name, digest=digest) for name, digest in digests.items()))
    settings = {"token_reuse": "30s", "algorithm": "RS256", "policy_file": str(policy)}
    with running("serve", **(demo | settings)) as process:
        process.wait_for("ready")
        tokens: dict[str, set[str]] = {}
        for name, key in KEYS.items():
            with usher.SyncClient(process.grpc_address, key=key) as client:
                tokens[name] = {client.issue_token("alice", {"tenant_id": "acme"}).token for _ in range(5)}
    assert [len(found) for found in tokens.values()] == [1, 1]
    assert not tokens["orders"] & tokens["billing"]
